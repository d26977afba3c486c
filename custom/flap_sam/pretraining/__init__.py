"""The small SAM in the box: pretrained promptably, as SAM was, on pictures of drawn shapes."""
