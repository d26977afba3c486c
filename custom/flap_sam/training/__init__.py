"""One site's work: loss, schedule, an epoch of training, Dice. Knows no FLARE."""
