from flap_sam.means import mean_of_known


def test_what_is_not_known_does_not_count():
    assert mean_of_known([0.75, None, 0.25]) == 0.5
    assert mean_of_known([None, None]) is None
    assert mean_of_known([]) is None
