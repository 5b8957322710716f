import pytest

from batiste.core import errors


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errors.CursorFindError(), ["No object", "Loosen"]),
        (errors.CursorFindError(1), ["No object"]),
        (errors.CursorFindError(1, [2]), ["More than one object", "1 and [2]"]),
        (errors.TraverseTreeError(None, None), ["neither was given"]),
        (errors.TraverseTreeError(abs, abs), ["both were given"]),
    ],
)
def test_each_error_says_what_to_do_and_survives_pickling(error, words, check_error):
    check_error(error, words)
