# SPDX-License-Identifier: Apache-2.0
import pytest
from flap_sam.commands.tables.options import GROUPS, markdown, meanings, settings_of
from flap_sam.config.experiment import Experiment
from flap_sam.config.run_policy import RunPolicy
from flap_sam.config.site import ENVIRONMENT
from flap_sam.errors import FlapSamError


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.kind.__name__)
def test_every_setting_has_a_meaning_and_no_meaning_lacks_its_setting(group):
    names = [setting.name for setting in settings_of(group.kind)]
    assert meanings(group.kind).keys() == set(names)
    assert all(meanings(group.kind).values())


def test_a_row_holds_what_the_class_says():
    rows = {line.split("`")[1]: line for line in markdown().splitlines() if line.startswith("| `")}
    adapted = "`method` loraft, loradecft, flap_sam, masam"
    cells = [cell.strip() for cell in rows["rank"].split("|")[1:-1]]
    assert cells == ["`rank`", "whole number", "`32`", "1 to 1024", f"rank of the adapters. Read with {adapted}."]
    others = "(that of another package must be installed here)"
    ours = "svd, factor-average, freeze-a, residual, alternate, fedsvd, sketch"
    assert f'| text | `"svd"` | {ours} {others} |' in rows["strategy"]
    assert "| number, or null | `null` |" in rows["wait_after_min"]
    assert '| text | `"float32"` | float32, tf32, bfloat16, auto |' in rows["precision"]
    assert all(f"`{name}`, `{variable}`" in rows[name] for name, variable in ENVIRONMENT.items())


@pytest.mark.parametrize("kind", [Experiment, RunPolicy])
def test_a_refusal_says_what_the_page_says(kind):
    rows = {line.split("`")[1]: line for line in markdown().splitlines() if line.startswith("| `")}
    for name in kind.model_fields:
        with pytest.raises(FlapSamError) as refused:
            kind(**{name: -1})
        told = str(refused.value).partition("expected ")[2].removesuffix(".").removeprefix("one of ")
        assert f" {told} " in rows[name] or f"| {told.partition(', ')[2]} |" in rows[name], told
