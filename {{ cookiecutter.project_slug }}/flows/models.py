"""The trained models on disk, read without Prefect, so that a prediction takes no server."""

from typing import Any

from flows import ROOT, UserError

# Types that skops does not know by itself; it only describes an array.
TRUSTED = ["numpy.dtype"]


def newest_model() -> Any:
    """Return the model of the newest run; raise `UserError` where there is none."""
    paths = sorted((ROOT / "models").glob("*/*.skops"))  # a run's folder begins with its time
    if not paths:
        raise UserError("There is no model yet: train one with `python main.py`.")
    return loads(paths[-1].read_bytes())


def loads(blob: bytes) -> Any:
    """Return the model in the bytes of a skops file.

    Raises `UserError` for bytes that are no skops file, or that hold a type which neither
    scikit-learn nor NumPy defines: such a file could run code when it is opened.
    """
    import skops.io

    try:
        unknown = set(skops.io.get_untrusted_types(data=blob)) - set(TRUSTED)
        if unknown:
            raise UserError(
                f"The model holds types that are not trusted: {', '.join(sorted(unknown))}."
            )
        return skops.io.loads(blob, trusted=TRUSTED)
    except UserError:
        raise
    except Exception as error:  # a damaged file fails anywhere inside zipfile, json or NumPy
        raise UserError(f"The model cannot be read, it is damaged: {error}.") from None
