# ruff: noqa: RUF001  full-width signs are what this is about
"""Tokenizers read what their models read: SentencePiece itself is the oracle, in all eleven languages."""

from __future__ import annotations

import importlib
import io
import json
import shutil
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import sentencepiece
from transformers import AutoTokenizer

from smc_eval.errors import ModelError
from smc_eval.tasks.backbone import Backbone
from smc_eval.tasks.translation.codec import Codec
from smc_eval.tasks.translation.corpus import Sentence
from smc_eval.tasks.translation.encoder_decoder import make_codec
from smc_eval.tasks.translation.languages import LANGUAGES, Direction
from smc_eval.tasks.translation.normalization import file_normalization, unchanged
from smc_eval.tasks.translation.translation import Translation
from smc_eval.tasks.translation.vocabulary import check_vocabulary, unknown_shares

Make = Callable[[str, str], Path]

TEXTS = {
    "en": "All human beings are born free and equal in dignity and rights. They are endowed with reason.",
    "fr": "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués.",
    "cs": "Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti a práv. Jsou nadáni rozumem.",
    "de": "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft begabt.",
    "gu": "પ્રતિષ્ઠા અને અધિકારોની દૃષ્ટિએ સર્વ માનવો જન્મથી સ્વતંત્ર અને સમાન હોય છે.",
    "ja": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "my": "လူတိုင်းသည် တူညီ လွတ်လပ်သော ဂုဏ်သိက္ခာဖြင့် လည်းကောင်း၊ မွေးဖွားလာသူများ ဖြစ်သည်။",
    "ro": "Toate ființele umane se nasc libere și egale în demnitate și în drepturi.",
    "ru": "Все люди рождаются свободными и равными в своём достоинстве и правах. Они наделены разумом.",
    "vi": "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền lợi.",
    "zh": "人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心,并应以兄弟关系的精神相对待。",
}
"""The first article of the Universal Declaration of Human Rights, which is free of copyright; shortened."""

WIDE = {ord(letter): ord(letter) + 0xFEE0 for letter in "!(),-.0123456789:;?"}

FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "decomposed": lambda text: unicodedata.normalize("NFD", text),
    "full width": lambda text: f"{text} (12;3)!".translate(WIDE),
    "ligatures": lambda text: text.replace("fr", "ﬁ").replace("...", "…") + " ﬂ…",
    "half-width kana": lambda text: text + "ｶﾞﾊﾟ",
    "blanks": lambda text: f" \u3000{text}  {text}\u00a0\u200b{text}\t".replace(" ", "\u2009 ", 3),
    "unknown": lambda text: f"{text} ☃☃ ☃",
}


@pytest.fixture(scope="session")
def pieces() -> bytes:
    """A unigram model of all languages with `nmt_nfkc`, the normalization of mBART."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*TEXTS.values(), "0 1 2 3 4 5 6 7 8 9 ! ? ( ) ; : ... TEL -"] * 3),
        model_writer=written,
        model_type="unigram",
        vocab_size=420,
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="nmt_nfkc",
        minloglevel=2,
    )
    return written.getvalue()


@pytest.fixture(scope="session")
def checkpoint(pieces: bytes, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Makes the folder of an mBART without weights; its tokenizer is `alone`, in `json`, or in `both`."""
    made: dict[tuple[str, str], Path] = {}

    def make(tokenizer_class: str, files: str) -> Path:
        if (tokenizer_class, files) not in made:
            folder = tmp_path_factory.mktemp(f"{tokenizer_class}-{files}")
            config = {"model_type": "mbart", "is_encoder_decoder": True, "vocab_size": 500}
            (folder / "config.json").write_text(json.dumps(config))
            own = {"tokenizer_class": tokenizer_class}
            (folder / "tokenizer_config.json").write_text(json.dumps(own))
            if files == "json":
                whole = make(tokenizer_class, "alone")
                _write_json(whole, folder / "tokenizer.json")
            else:
                (folder / "sentencepiece.bpe.model").write_bytes(pieces)
            if files == "both":
                shutil.copy(make(tokenizer_class, "json") / "tokenizer.json", folder)
            made[tokenizer_class, files] = folder
        return made[tokenizer_class, files]

    return make


def _write_json(source: Path, path: Path) -> None:
    """The tokenizer of a folder as a `tokenizer.json` of transformers 4, which holds the table."""
    from sentencepiece import sentencepiece_model_pb2 as messages
    from tokenizers import Regex, normalizers
    from transformers import AutoTokenizer

    model = messages.ModelProto.FromString((source / "sentencepiece.bpe.model").read_bytes())
    backend = AutoTokenizer.from_pretrained(source).backend_tokenizer
    backend.normalizer = normalizers.Sequence(
        [
            normalizers.Precompiled(model.normalizer_spec.precompiled_charsmap),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    backend.save(str(path))


CLASSES = ("MBartTokenizer", "MBart50Tokenizer")


def codec_of(folder: Path) -> Codec:
    return make_codec(str(folder), [], tuple(LANGUAGES), 500)


def fairseq(ids: list[int]) -> list[int]:
    """SentencePiece's ids as mBART's: it has <s>, <pad>, </s>, <unk> first, and other ids are one higher."""
    return [3 if number == 0 else number + 1 for number in ids]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("files", ["alone", "json", "both"])
@pytest.mark.parametrize("tokenizer_class", CLASSES)
def test_the_codec_gives_the_tokens_of_sentencepiece_in_every_language(
    checkpoint: Make, pieces: bytes, tokenizer_class: str, files: str, form: str
) -> None:
    oracle = sentencepiece.SentencePieceProcessor(model_proto=pieces)
    codec = codec_of(checkpoint(tokenizer_class, files))
    assert TEXTS.keys() == LANGUAGES.keys()
    for text in map(FORMS[form], TEXTS.values()):
        assert codec.ids(text) == fairseq(oracle.encode(text)), text
        assert codec.rewritten(text).split() == oracle.decode(oracle.encode(text)).replace("⁇", "").split()


@pytest.mark.parametrize("files", ["alone", "json", "both"])
@pytest.mark.parametrize(
    ("text", "rewritten"),
    [
        ("自由，平等！１２３", "自由,平等!123"),
        ("ﬁ", "fi"),
        (unicodedata.normalize("NFD", "được tự do bình đẳng"), "được tự do bình đẳng"),
        (unicodedata.normalize("NFD", "důstojnosti"), "důstojnosti"),
        ("…", "..."),
    ],
)
def test_full_width_signs_ligatures_and_decomposed_accents_stay(
    checkpoint: Make, files: str, text: str, rewritten: str
) -> None:
    codec = codec_of(checkpoint("MBartTokenizer", files))
    assert 3 not in codec.ids(text)
    assert codec.rewritten(text) == rewritten


def test_a_tokenizer_without_a_table_of_replacements_gets_the_text_as_it_is(
    checkpoint: Make, tmp_path: Path
) -> None:
    whole = checkpoint("MBartTokenizer", "json")
    for path in whole.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    settings = json.loads((whole / "tokenizer.json").read_text(encoding="utf-8"))
    (tmp_path / "tokenizer.json").write_text(json.dumps({**settings, "normalizer": None}), encoding="utf-8")
    codec = codec_of(tmp_path)
    assert codec.normalize("１，") == "１，" and 3 in codec.ids("１，")


def test_the_files_of_a_model_of_the_hub_are_those_of_its_commit_in_the_cache(
    checkpoint: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "c" * 40
    snapshot = tmp_path / "models--some--mbart" / "snapshots" / commit
    shutil.copytree(checkpoint("MBartTokenizer", "json"), snapshot)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    found = Backbone("some/mbart", "some/mbart", commit, {}, "encoder-decoder")
    tokenizer = AutoTokenizer.from_pretrained(snapshot)
    assert file_normalization(found, tokenizer)("１２") == "12"
    other = replace(found, commit="d" * 40)
    assert file_normalization(other, tokenizer) is unchanged


def test_a_broken_sentencepiece_model_is_one_line(checkpoint: Make, tmp_path: Path) -> None:
    for path in checkpoint("MBartTokenizer", "json").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "sentencepiece.bpe.model").write_bytes(b"\x0bnone")
    with pytest.raises(ModelError, match=r"sentencepiece\.bpe\.model of model .* cannot be read"):
        codec_of(tmp_path)


def sentences(code: str, text: str) -> list[Sentence]:
    return [Sentence(Direction("en", code), TEXTS["en"], text)]


def test_the_share_of_unknown_tokens_is_counted_for_each_language(checkpoint: Make) -> None:
    codec = codec_of(checkpoint("MBartTokenizer", "alone"))
    known = len(codec.ids("人人"))
    assert len(codec.ids("人人☃")) == known + 1
    assert unknown_shares(codec, sentences("zh", "人人☃")) == {"en": 0.0, "zh": 1 / (known + 1)}
    assert unknown_shares(codec, sentences("zh", "人人☃") * 5, most=1) == {"en": 0.0, "zh": 1 / (known + 1)}


def test_a_high_share_of_unknown_tokens_is_an_error_that_names_language_and_remedy(
    checkpoint: Make,
) -> None:
    codec, strange = codec_of(checkpoint("MBartTokenizer", "alone")), f"☃{TEXTS['zh']}☃"
    check_vocabulary(codec, sentences("zh", TEXTS["zh"]), "given")
    share = codec.unknown_share([strange])
    assert share > 0.03
    with pytest.raises(ModelError) as error:
        check_vocabulary(codec, sentences("zh", strange), "given")
    assert str(error.value) == (
        f"{share:.1%} of the Chinese tokens are unknown to the tokenizer of model 'given'; "
        "wanted at most 3%, as they vanish from sources and references\n"
        "choose other languages or another model"
    )
    codec.normalize = unchanged
    with pytest.raises(ModelError, match="beside its config.json"):
        check_vocabulary(codec, sentences("zh", TEXTS["zh"].replace(",", "，") * 9), "given")


def test_a_sentencepiece_model_that_transformers_cannot_read_names_protobuf(
    checkpoint: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(error_message: str = "") -> None:
        raise ImportError("no protobuf")

    # the package has a function of the module's name
    module = importlib.import_module("transformers.convert_slow_tokenizer")
    monkeypatch.setattr(module, "import_protobuf", missing)
    with pytest.raises(ModelError, match=r"cannot be read by transformers; update protobuf"):
        codec_of(checkpoint("MBartTokenizer", "alone"))


def test_a_task_refuses_a_tokenizer_that_does_not_know_its_text_before_training(
    checkpoint: Make, tmp_path: Path
) -> None:
    home = tmp_path / "translation"
    home.mkdir()
    for part in ("train", "test"):
        for code, text in (("en", TEXTS["en"]), ("zh", "自☃由☃")):
            (home / f"{part}.{code}").write_text(f"{text}\n", encoding="utf-8")
    backbone = str(checkpoint("MBartTokenizer", "alone"))

    class Chinese(Translation):
        card = Translation.__subclasses__()[0].card

    task = Chinese(languages=("zh",), folder=str(tmp_path), backbone=backbone)
    with pytest.raises(ModelError, match="of the Chinese tokens are unknown"):
        task.side_lengths(task.data("train")[0])
