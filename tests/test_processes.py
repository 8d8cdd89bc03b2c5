"""Which process this is, as each launcher says it, and that each touches its own GPU only."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist
from omegaconf import OmegaConf

from samwise.config.composing import compose_config
from samwise.errors import UserError
from samwise.inference import infer as main_infer
from samwise.inference.predictor import SamwisePredictor
from samwise.inference.sharing import Shard
from samwise.running.device import own_device
from samwise.running.processes import Place, find_place
from samwise.training import distributed
from samwise.training.distributed import process_group

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "node7", "MASTER_PORT": "29500"}
BATCH = {"SLURM_JOB_ID": "12", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}  # no step yet
STEP = {
    **BATCH,
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
    "SLURM_JOB_NODELIST": "gpu[01-09]",
}
LOCAL_JOB = {
    **STEP,  # started from within a Slurm job
    "SUBMITIT_EXECUTOR": "local",
    "SUBMITIT_LOCAL_NTASKS": "2",
    "SUBMITIT_LOCAL_GLOBALID": "1",
    "SUBMITIT_LOCAL_LOCALID": "1",
    "SUBMITIT_LOCAL_JOB_ID": "77",
}


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({}, (0, 1, 0, None)),
        (TORCHRUN, (3, 4, 1, "node7")),
        ({**STEP, **TORCHRUN}, (3, 4, 1, "node7")),  # torchrun in a job step
        (BATCH, (0, 1, 0, None)),  # the batch script is one process
        (
            {**STEP, "SLURM_STEP_NUM_NODES": "1", **BATCH, "SLURM_GTIDS": "0"},
            (0, 1, 0, None),
        ),  # one sent by a step
        ({**STEP, "SLURM_STEP_NUM_NODES": "1", "SLURM_GTIDS": "0,1,2,3"}, (3, 4, 1, "127.0.0.1")),
        (STEP, (3, 4, 1, "gpu07")),
        ({**STEP, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, (0, 1, 0, None)),  # srun -n1 in it
        ({**STEP, "SLURM_STEP_NUM_NODES": "1"}, (3, 4, 1, "127.0.0.1")),
        ({**STEP, "MASTER_ADDR": "here"}, (3, 4, 1, "here")),
        ({**STEP, "WORLD_SIZE": "4"}, (3, 4, 1, "gpu07")),  # what many batch scripts export
        ({**STEP, "SLURM_STEP_NODELIST": "big1,gpu[3,5-6]"}, (3, 4, 1, "big1")),
        ({**STEP, "SLURM_STEP_NODELIST": "r[2-3]n[010-012]-ib,big1"}, (3, 4, 1, "r2n010-ib")),
        (LOCAL_JOB, (1, 2, 1, "127.0.0.1")),
        ({**TORCHRUN, "LOCAL_RANK": ""}, "LOCAL_RANK= isn't a number"),
        ({k: v for k, v in TORCHRUN.items() if k != "LOCAL_RANK"}, (3, 4, None, "node7")),
        ({"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}, (1, 2, 1, "localhost")),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE=2 is set, but not RANK"),
        ({"WORLD_SIZE": "two", "RANK": "0"}, "WORLD_SIZE=two isn't a number"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, "process 2 of 2"),
        ({"WORLD_SIZE": "1"}, (0, 1, 0, None)),
    ],
)
def test_where_a_process_is(environment: dict[str, str], place: tuple | str):
    if isinstance(place, str):
        with pytest.raises(UserError, match=place):
            find_place(environment)
        return
    found = find_place(environment)
    assert (found.rank, found.count, found.local, found.address) == place


def test_the_steps_of_a_job_meet_at_different_ports():
    """The same for all processes of one, below those that the kernel gives away itself."""
    ports = {find_place({**STEP, "SLURM_STEP_ID": str(step), "SLURM_PROCID": "0"}).port for step in range(3)}
    assert find_place(STEP).port in ports and len(ports) == 3
    assert all(15_000 <= int(port) < 32_768 for port in ports)


def test_processes_that_cannot_meet_say_so(monkeypatch: pytest.MonkeyPatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(UserError, match="MASTER_ADDR or MASTER_PORT isn't set"), process_group("cpu"):
        pass
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "1")

    def meet(*_: Any, **__: Any):
        raise dist.DistNetworkError("port: 1 is taken\nand more")
        yield

    monkeypatch.setattr(dist, "rendezvous", meet)
    with pytest.raises(UserError, match=r"127.0.0.1:1 \(port: 1 is taken\)"), process_group("cpu"):
        pass


@pytest.fixture
def touched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What is done to the GPUs of a machine that has four of them."""
    calls: list[tuple[str, str]] = []
    empty = torch.empty

    def touch(*size: Any, device: Any = None, **options: Any) -> torch.Tensor:
        if torch.device(device or "cpu").type == "cuda":
            calls.append(("touch", str(torch.device(device))))
            device = "cpu"
        return empty(*size, device=device, **options)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: calls.append(("set", str(device))))
    monkeypatch.setattr(torch, "empty", touch)
    return calls


@pytest.mark.parametrize("name", [None, "cuda"])
def test_training_makes_its_gpu_the_current_one_first(name: str | None, touched, monkeypatch):
    for key, value in TORCHRUN.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(distributed, "_meet", lambda place, device: touched.append(("meet", str(device))))
    monkeypatch.setattr(distributed, "_check_own_gpus", lambda device: None)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)
    with process_group(name) as device:
        assert str(device) == "cuda:1"
    assert touched == [("set", "cuda:1"), ("touch", "cuda:1"), ("meet", "cuda:1")]


@pytest.mark.parametrize("name", [None, "cuda"])
def test_inference_makes_its_gpu_the_current_one_first(name: str | None, touched, monkeypatch, mevis_tree):
    class Reached(Exception):
        pass

    def load(checkpoint: Any, device: torch.device, *_: Any, **__: Any) -> None:
        touched.append(("load", str(device)))
        raise Reached

    for key, value in TORCHRUN.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(SamwisePredictor, "from_pretrained", load)
    words = ["experiment=mevis", f"data.root={mevis_tree}", "checkpoint=checkpoints/default.safetensors"]
    config = OmegaConf.merge(compose_config("infer", words), {"device": name})
    with pytest.raises(Reached):
        main_infer._infer(config, Shard(3, 4), None)  # type: ignore[arg-type]
    assert touched == [("set", "cuda:1"), ("touch", "cuda:1"), ("load", "cuda:1")]


def test_which_gpu_is_a_processs_own(touched, monkeypatch):
    assert str(own_device("cuda", Place())) == "cuda" and touched == [("touch", "cuda")]  # alone: as before
    assert str(own_device("cuda:2", Place(1, 2, 1))) == "cuda:2"  # as named
    assert str(own_device("cpu", Place(1, 2, 1))) == "cpu"
    with pytest.raises(UserError, match="process 5 on this machine finds 4 GPUs"):
        own_device("cuda", Place(5, 8, 5))
    with pytest.raises(UserError, match="LOCAL_RANK isn't set"):
        own_device("cuda", Place(5, 8, None))
    assert str(own_device("cuda", Place(5, 8, 5), shared=True)) == "cuda:1"  # inference shares them in turn
    assert str(own_device("cuda", Place(6, 8, None), shared=True)) == "cuda:2"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)  # Slurm shows each task its own
    assert str(own_device("cuda", Place(5, 8, 5))) == "cuda:0"


def test_two_processes_on_one_gpu_are_refused(monkeypatch):
    class Properties:
        uuid = "GPU-1"

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Properties)
    monkeypatch.setattr(distributed, "gather", lambda gpu: [gpu, gpu])
    with pytest.raises(UserError, match="2 processes have 1 GPUs"):
        distributed._check_own_gpus(torch.device("cuda", 0))
