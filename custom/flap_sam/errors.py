"""The one error that a person is meant to read."""


class FlapSamError(Exception):
    """One sentence: which file or tensor, what was found, what was expected, what to do.

    Args:
        message: for the eyes of whoever runs this process; may name files.
        public: the same without file names, paths or case names, fit to leave the site.
            Left out, only the fact that the site failed leaves it.
    """

    def __init__(self, message: str, public: str = "the site stopped; its own log says why") -> None:
        super().__init__(message)
        self.public = public
