"""Command lines as people type them: sentences in any signs, mistyped words, numbers out of range."""

from __future__ import annotations

import copy
import os
import re
import runpy
import signal
import sys
import time
from functools import cache
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from samwise.config.composing import CONFIG_DIR, compose_config
from samwise.config.ranges import check_ranges
from samwise.errors import UserError
from samwise.running.cli import explain, help_text
from samwise.running.locking import FolderLock
from samwise.running.words import plain_words

DEMO = ("input", "text")
TYPED = [
    "the man's hat", "the dog (left)", "left, holding a cup", "介绍一下", "#5", 'the "red" one', "a \\ b",
    "ends in \\",
    "${oc.env:HOME}", "a=b", "{x: 1}", "50 %", "  spaces  ", "5", "true", "c:\\", 'both \\"', "!?&|<>;`$",
]  # fmt: skip


def typed(*words: str) -> OmegaConf:
    if not any(word.startswith("input=") for word in words):
        words = ("input=in.mp4", *words)
    return compose_config("demo", plain_words(words, DEMO))


def parsed(*words: str) -> list[object]:
    """The values that Hydra reads."""
    found = OverridesParser.create().parse_overrides(plain_words(words, DEMO))
    return list(OmegaConf.create([override.value() for override in found]))


@pytest.mark.parametrize("text", TYPED)
def test_a_sentence_is_taken_as_typed(text: str) -> None:
    assert [str(value) for value in parsed(f"text={text}", f"input={text}")] == [text, text]
    assert parsed(f"text={text}") == [text]


def test_sentences_are_taken_as_typed() -> None:
    assert list(typed(*(f"text={text}" for text in TYPED)).text) == TYPED
    config = typed(f"text={TYPED[8]}", f"input={TYPED[5]}")
    assert (config.text, config.input) == (TYPED[8], TYPED[5])


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(lambda t: t[0] not in "[@"))
def test_any_sentence_is_taken_as_typed(text: str) -> None:
    if text != "null":
        assert parsed(f"text={text}") == [text]


def test_lists_and_files_of_sentences(tmp_path: Path) -> None:
    assert list(typed('text=["the horse jumping", "the rider"]').text) == ["the horse jumping", "the rider"]
    file = tmp_path / "sentences.txt"
    file.write_text("the man's hat\n\n  the rider  \n", encoding="utf-8")
    assert list(typed(f"text=@{file}", "text=third").text) == ["the man's hat", "the rider", "third"]
    with pytest.raises(UserError, match="can't read .*nowhere.txt as text"):
        typed(f"text=@{tmp_path}/nowhere.txt")
    with pytest.raises(UserError, match="in double quotes; or give text=... several times"):
        typed("text=[the man's hat]")
    assert plain_words(["scratch.lr=1", "-m"], DEMO) == ["scratch.lr=1", "-m"]


@pytest.mark.parametrize(
    "program, words, message",
    [
        (
            "train",
            ["experiment=synthetc"],
            "experiment=synthetc: there is no such name; did you mean synthetic",
        ),
        ("infer", ["experiment=meviss"], "did you mean mevis?"),
        ("evaluate", ["experiment=zzz"], "choose one of davis, mevis"),
        ("train", ["debug=fats"], "did you mean fast?"),
        ("train", ["adapter=lroa"], "did you mean lora?"),
        ("train", ["model=roberta_hira_t"], "did you mean roberta_hiera_t"),
        ("train", ["experimnt=mevis"], "did you mean experiment?"),
        ("train", ["lr=1e-4"], "there is no key 'lr'; did you mean optimizer.lr or scratch.lr?"),
        ("demo", ["max_frame=3"], "did you mean max_frames?"),
        ("train", ["scratch.batchsize=4"], "did you mean scratch.batch_size"),
        ("infer", ["input=in.mp4"], "there is no key 'input'; scripts/demo.py is for videos of your own"),
        ("train", ["experiment=MeViS"], "did you mean mevis"),
        ("train", ["SCRATCH.LR=1"], "did you mean scratch.lr?"),
        ("evaluate", ["predictions=a b(c"], "need quotes inside quotes: 'predictions=\"a b(c\"'"),
    ],
)
def test_mistyped_words_are_refused_with_the_nearest(program: str, words: list[str], message: str) -> None:
    from hydra import compose
    from hydra.errors import HydraException

    from samwise.config.composing import _hydra

    with pytest.raises(HydraException) as caught, _hydra():
        compose(program, words)
    said = explain(caught.value, program, words)
    assert message in said and "\n" not in said


@pytest.mark.parametrize(
    "program, words, key",
    [
        ("train", ["scratch.lr=inf"], "scratch.lr"),
        ("train", ["scratch.lr=-1"], "scratch.lr"),
        ("train", ["scratch.num_workers=1000000"], "scratch.num_workers"),
        ("train", ["optimizer.betas=[2,2]"], "optimizer.betas"),
        ("train", ["model.adapter.dropout=2"], "model.adapter.dropout"),
        ("train", ["model.cme.window=-1"], "model.cme.window"),
        ("train", ["scratch.epochs=nan"], "scratch.epochs"),
        ("infer", ["clip_length=1.5"], "clip_length"),
        ("infer", ["max_expressions=true"], "max_expressions"),
        ("demo", ["input=x", "text=x", "max_frames=2.5"], "max_frames"),
        ("demo", ["input=x", "text=x", "fps=-5"], "fps"),
        ("demo", ["input=x", "text=x", "max_frames=many"], "max_frames"),
        ("make_synthetic", ["train=-1"], "train"),
        ("web_demo", ["keep_minutes=nan"], "keep_minutes"),
        ("web_demo", ["limits.frames=0"], "limits.frames"),
        ("demo", ["input=x", "text=x", "masks=maybe"], "masks"),
        ("infer", ["overwrite=1"], "overwrite"),
        ("train", ["model.cme.crossed=no_idea"], "model.cme.crossed"),
    ],
)
def test_numbers_out_of_range_name_their_key(program: str, words: list[str], key: str) -> None:
    config = whole_config(program)
    for override in OverridesParser.create().parse_overrides(words):
        assert OmegaConf.select(config, override.key_or_group, default="absent") != "absent"
        OmegaConf.update(config, override.key_or_group, override.value())
    with pytest.raises(UserError, match=f"{key}=.* must be (a|true or false)"):
        check_ranges(OmegaConf.to_container(config))


def whole_config(program: str) -> DictConfig:
    return copy.deepcopy(_whole_config(program))


@cache
def _whole_config(program: str) -> DictConfig:
    return compose_config(program, ["input=x", "text=x"] if program == "demo" else [])


@pytest.mark.parametrize(
    "words, message",
    [
        (
            ["in.mp4", "a dog"],
            "'in.mp4' has no equals sign; write key=value, such as input=video.mp4 'text=the red",
        ),
        (["input=in.mp4", "text", "a dog"], "'text' has no equals sign; write 'text=a dog'"),
        (["input=in.mp4", "text"], "write 'text=...'"),
        (["--input", "in.mp4"], "'--input': keys have no dashes and an equals sign; write 'input=in.mp4'"),
        (["input=in.mp4", "--text=a dog"], "write 'text=a dog'"),
        (["input=a.mp4", "input=b.mp4", "text=x"], "input= is given 2 times"),
    ],
)
def test_words_that_are_no_keys(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        plain_words(words, DEMO)


def test_hydra_keeps_its_options() -> None:
    assert plain_words([], DEMO) == []
    words = ["-m", "experiment=mevis", "--config-dir", "mine/configs", "--cfg=job", "~debug", "+a=1"]
    assert plain_words(words, ()) == words


@pytest.mark.parametrize("value", ["выход", "my folder (2)", "a=b", "C:\\x y", "50 %"])
def test_paths_are_taken_as_typed(value: str) -> None:
    """Where Hydra's grammar can't read them; what it can read stays a number, a list or nothing."""
    assert typed("text=x", f"output={value}").output == value
    assert plain_words(["a=[1,2]", "b=3", "c=null", "d='x'"], ()) == ["a=[1,2]", "b=3", "c=null", "d='x'"]


def test_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/mé")
    config = typed("input=~/in.mp4", "text=~/x", "output=~/out")
    assert (config.input, config.text, config.output) == ("/home/mé/in.mp4", "~/x", "/home/mé/out")


def test_several_values_without_brackets() -> None:
    said = "Ambiguous value for argument 'compare=runs/a,runs/b' 1. To use it as a list"
    assert "write 'compare=[runs/a,runs/b]' for a list" in explain(ValueError(said), "evaluate", [])


@pytest.mark.parametrize(
    "script, words, message",
    [
        ("scripts/demo.py", [], "input=... is missing: demo.py input=video.mp4"),
        ("scripts/demo.py", ["in.mp4", "a dog"], "'in.mp4' has no equals sign"),
        ("scripts/train.py", ["--experiment", "mevis"], "write 'experiment=mevis'"),
        ("scripts/evaluate.py", ["compare=runs/a,runs/b"], "compare=[runs/a,runs/b]"),
        ("scripts/web_demo.py", ["--port", "7860"], "write 'port=7860'"),
        ("tools/frames_to_video.py", ["in", "out.xyz"], "out.xyz: name a video, such as out.mp4"),
        (
            "tools/frames_to_video.py",
            ["in", "out.mp4", "abc"],
            "abc isn't a frame rate; give frames per second",
        ),
        ("tools/frames_to_video.py", ["in", "out.mp4", "0"], "0 isn't a frame rate"),
    ],
)
def test_a_mistake_gets_one_line(
    script: str,
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [script, *words])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(CONFIG_DIR.parent / script), run_name="__main__")
    said = capsys.readouterr().err.splitlines()
    assert left.value.code == 2 and len(said) == 1 and said[0].startswith("error: ") and message in said[0]


def test_help_has_every_key_with_its_comment() -> None:
    for name in ("demo", "infer", "train", "benchmark/infer"):
        text = help_text(name)
        own = OmegaConf.load(CONFIG_DIR / f"{name}.yaml")
        assert all(f"{key}:" in text for key in own if key not in ("defaults", "hydra"))
        assert "hydra" not in text.replace("${hydra:", "") and "defaults:" not in text
    assert "experiment=davis|mevis|" in help_text("infer") and "data=davis|" in help_text("infer")
    assert "opacity: 0.45              # of the overlay's fill" in help_text("demo")


def test_every_config_here_is_in_range() -> None:
    programs = [p.stem for p in CONFIG_DIR.glob("*.yaml") if p.stem != "base"]
    for name in [*programs, *(f"benchmark/{p.stem}" for p in (CONFIG_DIR / "benchmark").glob("*.yaml"))]:
        check_ranges(OmegaConf.to_container(compose_config(name)))  # the experiments: test_loading.py


def test_a_folder_has_one_process_at_a_time(tmp_path: Path) -> None:
    """The lock says who has it, and goes with its process, however that ends."""
    ready, go = os.pipe()
    child = os.fork()
    if child == 0:
        lock = FolderLock()
        lock.take(tmp_path)
        os.write(go, b"x")
        time.sleep(60)
        os._exit(0)
    try:
        os.read(ready, 1)
        with FolderLock() as lock, pytest.raises(UserError, match=f"is in use by process {child} on "):
            lock.take(tmp_path)
        with FolderLock(".other.lock") as lock:
            lock.take(tmp_path)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    for _ in range(2):  # it was let go, and is again
        with FolderLock() as lock:
            lock.take(tmp_path)
