"""The bundled small SAM: pretrained promptably, as SAM was, on pictures of drawn shapes."""
