"""Texts to pieces and back, by a SentencePiece model trained on the training texts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

__all__ = ["EOS", "PAD", "Tokenizer", "load_or_train"]

PAD = 0  # Fills up; as the first input of the decoder, it also starts a sentence.
EOS = 1


class Tokenizer:
    """Pieces of a SentencePiece model (Kudo and Richardson, 2018, arXiv:1808.06226).

    Args:
      path: the file of the model.
    """

    def __init__(self, path: Path):
        import sentencepiece

        self.processor = sentencepiece.SentencePieceProcessor(model_file=str(path))

    @property
    def vocab_size(self) -> int:
        """How many pieces there are."""
        return self.processor.get_piece_size()

    def encode(self, text: str) -> list[int]:
        """The pieces of a text, and EOS."""
        return [*self.processor.encode(text), EOS]

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of pieces, up to the first EOS."""
        kept = []
        for token in tokens:
            if token == EOS:
                break
            if token != PAD:
                kept.append(int(token))
        return self.processor.decode(kept)


def load_or_train(
    path: Path, texts: Iterable[str], vocab_size: int, max_texts: int = 1_000_000
) -> Tokenizer:
    """Reads the model of a run, or trains one at its first start.

    The same texts give the same model: training uses one thread and every text, of the
    first `max_texts`.

    Args:
      path: where the model is, or will be.
      texts: of both languages, whose pieces are shared.
      vocab_size: how many pieces to make at most.
      max_texts: how many texts to read.
    """
    if not path.exists():
        import itertools

        import sentencepiece

        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=itertools.islice(iter(texts), max_texts),
                model_writer=file,
                vocab_size=vocab_size,
                hard_vocab_limit=False,
                character_coverage=1.0,
                num_threads=1,
                pad_id=PAD,
                eos_id=EOS,
                unk_id=2,
                bos_id=-1,
                minloglevel=2,
            )
        part.replace(path)
    return Tokenizer(path)
