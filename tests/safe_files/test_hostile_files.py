"""Damaged and malicious files: no code runs, little memory is taken, and each gets a clear ``ValueError``."""

import base64
import copy
import json
import os
import re
import resource
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import safetensors.torch
import torch as th
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sb3_ppo_variants import ClipPPO, KLAdaptiveRate
from sb3_ppo_variants.safe_files.format import KEY, MAX_HEADER, canonical, checksum, read_safe
from sb3_ppo_variants.safe_files.schema import SafeFileError
from tests.algorithms.models import make

CALM = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
#: Growth of the process while hostile files ask for terabytes.
MEMORY = 256 * 2**20

_events: list[str] = []
_watching = False


def _audit(event: str, arguments: Any) -> None:
    if _watching and event in ("pickle.find_class", "os.system", "subprocess.Popen", "os.exec", "os.posix_spawn"):
        _events.append(event)


sys.addaudithook(_audit)


@contextmanager
def nothing_executed() -> Iterator[None]:
    """Python itself tells of unpickled classes and commands, whoever starts them."""
    global _watching
    _events.clear()
    _watching = True
    try:
        yield
    finally:
        _watching = False
    assert _events == []


class Canary:
    """Runs a command when it is unpickled."""

    def __init__(self, flag: Path):
        self.flag = flag

    def __reduce__(self):
        return (os.system, (f"touch {self.flag}",))


@pytest.fixture(scope="module")
def model() -> ClipPPO:
    return make(ClipPPO, n_steps=32, policy_kwargs={"net_arch": [8]}, learning_rate="lin_0.001").learn(32)


@pytest.fixture(scope="module")
def good(model, tmp_path_factory) -> Path:
    return model.save_safe(tmp_path_factory.mktemp("good") / "model")


def forge(path: Path, document: dict[str, Any], tensors: dict[str, th.Tensor]) -> Path:
    """A file with a right checksum, as an attacker writes it."""
    text = canonical({**document, "sha256": checksum(document, tensors)})
    path.write_bytes(safetensors.torch.save(tensors, metadata={KEY: text}))
    return path


def refused(path: Path) -> str:
    with nothing_executed(), pytest.raises(ValueError) as caught:  # noqa: PT011 (the message is returned)
        ClipPPO.load_safe(path)
    assert isinstance(caught.value, SafeFileError)
    assert len(str(caught.value)) < 1500
    return str(caught.value)


def test_the_forger_can_write_a_good_file(good, tmp_path) -> None:
    assert ClipPPO.load_safe(forge(tmp_path / "m.safetensors", *read_safe(good))).num_timesteps == 32


def at(document: Any, path: list[Any]) -> tuple[Any, Any]:
    for step in path[:-1]:
        document = document[step]
    return document, path[-1]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[list[Any]]:
    """The path to every value in a JSON document."""
    found = [list(path)] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        found += places(part, (*path, key))
    return found


# ---- Malicious documents, rightly signed ----

DEEP: Any = 0
for _ in range(15):
    DEEP = [DEEP]

CHANGES: dict[str, tuple[list[Any], Any, str]] = {
    "schema of the future": (["schema"], 2, "schema 2: this version reads schema 1"),
    "schema of no kind": (["schema"], "1", "this version reads schema 1"),
    "another algorithm": (["algorithm"], "os.system", "the algorithm is 'os.system': it must be one of"),
    "a key that is not known": (["__reduce__"], ["os.system", ["id"]], "which this version does not know"),
    "a setting that is not one": (["settings", "__class__"], "Evil", "'__class__', which this version does not know"),
    "an attribute that is no setting": (["settings", "policy_class"], "x", "'policy_class', which this version"),
    "another log folder": (["settings", "tensorboard_log"], "/etc", "'tensorboard_log', which this version"),
    "a rate that follows a KL of no size": (
        ["settings", "learning_rate"],
        {"schedule": "kl", **asdict(KLAdaptiveRate(0.01)), "target": -1},
        "learning_rate: KLAdaptiveRate's target=-1 is out of range",
    ),
    "a rate that follows a list": (
        ["settings", "learning_rate"],
        {"schedule": "kl", **asdict(KLAdaptiveRate(0.01)), "every": ["update"]},
        "learning_rate: KLAdaptiveRate's every=.* is unknown",
    ),
    "a rate with nothing to follow": (
        ["settings", "learning_rate"],
        {"schedule": "kl", **asdict(KLAdaptiveRate(0.01)), "target": None},
        "learning_rate: KLAdaptiveRate's target=None is a NoneType",
    ),
    "a clip range that follows the KL": (
        ["settings", "clip_range"],
        {"schedule": "kl", **asdict(KLAdaptiveRate(0.01))},
        "which is only for the learning_rate",
    ),
    "a schedule of code": (
        ["settings", "learning_rate"],
        {"schedule": "eval", "start": 1, "end": 0, "end_fraction": 1},
        "it must be one of kl, linear",
    ),
    "a schedule that divides by zero": (["settings", "learning_rate", "end_fraction"], 0, "end_fraction is 0"),
    "a schedule that begins below zero": (["settings", "learning_rate", "start"], -1, "learning_rate starts at -1"),
    "a policy by path": (["policy"], {"alias": "os.path"}, "policy is 'os.path': it must be one of"),
    "a policy of the author's": (["policy"], {"class": "evil.Policy"}, "pass policy_class="),
    "an activation by path": (["policy_kwargs", "activation_fn"], "os.system", "it must be one of CELU"),
    "an extractor by path": (["policy_kwargs", "features_extractor_class"], "../evil.Net", "it must be one of Comb"),
    "an optimizer by path": (["policy_kwargs", "optimizer_class"], "subprocess.Popen", "it must be one of Adadelta"),
    "a policy argument that is none": (["policy_kwargs", "lr_schedule"], "x", "'lr_schedule', which this version"),
    "huge layers": (["policy_kwargs", "net_arch"], [2**40, 2**40], "No ActorCriticPolicy can be made"),
    "large layers": (["policy_kwargs", "net_arch"], [10**6, 10**6], "The policy's .* has shape"),
    "a million layers": (["policy_kwargs", "net_arch"], [8] * 10**5, "more than the file has tensors"),
    "negative layers": (["policy_kwargs", "net_arch"], [-8], "No ActorCriticPolicy can be made"),
    "layers that are words": (["policy_kwargs", "net_arch"], ["8"], "No ActorCriticPolicy can be made"),
    "a huge observation": (["observation_space", "shape"], [10**9], "it must be a whole number|at most"),
    "a large observation": (["observation_space", "shape"], [4096, 4096], "at most 33554432 bytes"),
    "more bounds than entries": (["observation_space", "low"], [0.0] * 7, "an array of at most 4 entries"),
    "bounds that cross": (["observation_space", "low"], 5.0, "low is above its high"),
    "a bound that does not fit": (["observation_space", "low"], -1e300, "does not fit into float32"),
    "a space of objects": (["observation_space", "dtype"], "object", "dtype is 'object'"),
    "a space of another kind": (["observation_space", "type"], "Text", "type is 'Text'"),
    "another observation": (["observation_space", "shape"], [5], "mlp_extractor.policy_net.0.weight has shape"),
    "an unbounded action": (["action_space", "high"], "inf", "bounds that are not finite"),
    "a Dict action": (
        ["action_space"],
        {"type": "Dict", "spaces": {"a": {"type": "MultiBinary", "n": 2}}},
        "is a Dict",
    ),
    "a huge rollout": (["settings", "n_steps"], 2**39, "rollout buffer"),
    "a rollout beyond numbers": (["settings", "n_steps"], 10**30, "n_steps"),
    "many environments": (["n_envs"], 2**40, "n_envs is"),
    "no environments": (["n_envs"], 0, "n_envs is 0"),
    "gamma above one": (["settings", "gamma"], 2, "gamma=2 is out of range"),
    "gamma a string": (["settings", "gamma"], "1", "gamma='1'"),
    "a negative seed": (["settings", "seed"], -1, "seed=-1"),
    "a seed too large": (["settings", "seed"], 2**40, r"seed=\d+ is out of range"),
    "no n_steps": (["settings"], {}, "settings has no"),
    "everything left out": (["left_out"], ["n_steps", "gamma"], "was left out of the file"),
    "kwargs left out": (["policy_kwargs"], None, "policy_kwargs was left out"),
    "a buffer of the author's": (["rollout_buffer"], "evil.Buffer", "pass rollout_buffer_class="),
    "arguments of the buffer": (["rollout_buffer_kwargs"], {"device": "cuda"}, "which this version does not know"),
    "negative steps": (["counters", "num_timesteps"], -1, "num_timesteps is -1"),
    "progress too large for a float": (["progress"], 10**400, "progress is a whole number of 1329 bits"),
    "progress a list": (["progress"], [1.0], "progress is an array"),
    "episodes without a return": (["episodes", "infos"], [{"x": 1}], "no return"),
    "too many episodes": (["episodes", "infos"], [{"r": 1, "l": 1}] * 101, "at most 100 entries"),
    "another learning rate": (["param_groups", 0, "lr"], -1.0, "must not be negative"),
    "betas above one": (["param_groups", 0, "betas"], [2.0, 2.0], "Adam cannot be"),
    "betas that are none": (["param_groups", 0, "betas"], "01", "must be an array"),
    "a flag that is a number": (["param_groups", 0, "amsgrad"], 1, "must be like False"),
    "another group": (["param_groups", 0, "params"], [0], "groups the parameters in another way"),
    "no group": (["param_groups"], [], "has 0 parameter groups"),
    "an unknown optimiser setting": (["param_groups", 0, "__class__"], 1, "which this version does not know"),
    "masks that are a word": (["settings", "use_masking"], "yes", "use_masking='yes' is unknown"),
    "masks of a Box": (["settings", "use_masking"], True, "No MaskableActorCriticPolicy can be made"),
    "nested deeply": (["versions", "python"], DEEP, "nested more than 16 deep"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_malicious_documents_are_refused(name, good, tmp_path) -> None:
    path, value, says = CHANGES[name]
    document, tensors = read_safe(good)
    holder, key = at(document, path)
    holder[key] = value
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert re.search(says, message := refused(forge(tmp_path / "m.safetensors", document, tensors))), message
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MEMORY


MASKED_CHANGES: dict[str, tuple[list[Any], Any, str]] = {
    "no masks": (["settings", "use_masking"], False, "The policy's action_net.weight has shape"),
    "gSDE": (["settings", "use_sde"], True, "No MaskableActorCriticPolicy can be made"),
    "a policy of another kind": (["policy", "alias"], "MlpLstmPolicy", "The policy's .* has shape"),
    "a buffer of the author's": (["rollout_buffer"], "evil.Buffer", "pass rollout_buffer_class="),
    "a matrix of bits": (["action_space", "n"], [2, 2], "No MaskableActorCriticPolicy can be made"),
    "more bits": (["action_space", "n"], 4, "action_net.weight has shape"),
    "an ocean of bits": (["action_space", "n"], 2**40, "action_space|No MaskableActorCriticPolicy"),
    "a rollout whose masks are too large": (["settings", "n_steps"], 2**24, "asks for action masks of 4.03e.08 bytes"),
}


@pytest.mark.parametrize("name", MASKED_CHANGES)
def test_malicious_documents_with_masks_are_refused(name: str, tmp_path: Path) -> None:
    env = {"actions": "multi_binary", "allowed": 0.5}
    made = make(ClipPPO, env=env, use_masking=True, n_steps=32, policy_kwargs={"net_arch": [8]})
    document, tensors = read_safe(made.save_safe(tmp_path / "good"))
    path, value, says = MASKED_CHANGES[name]
    holder, key = at(document, path)
    holder[key] = value
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert re.search(says, message := refused(forge(tmp_path / "m.safetensors", document, tensors))), message
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MEMORY


def test_steps_of_the_callers_own_do_not_let_any_number_of_environments_pass(tmp_path: Path) -> None:
    env = {"actions": "multi_binary", "allowed": 0.5}
    made = make(ClipPPO, env=env, use_masking=True, n_steps=32, policy_kwargs={"net_arch": [8]})
    document, tensors = read_safe(made.save_safe(tmp_path / "good"))
    forged = forge(tmp_path / "m.safetensors", {**document, "n_envs": 2**20}, tensors)
    with pytest.raises(SafeFileError, match="with 1048576 environments asks for"):
        ClipPPO.load_safe(forged, n_steps=64)
    assert ClipPPO.load_safe(forged, env=made.env, n_steps=64).n_envs == 1


MEMORY_CHANGES: dict[str, tuple[list[Any], Any, str]] = {
    "a huge state": (["policy_kwargs", "lstm_hidden_size"], 2**40, "has shape|can be made"),
    "a state of no size": (["policy_kwargs", "lstm_hidden_size"], -1, "can be made"),
    "a state that is a name": (["policy_kwargs", "lstm_hidden_size"], "8", "can be made"),
    "endless layers": (["policy_kwargs", "n_lstm_layers"], 2**40, "n_lstm_layers names 1099511627776 layers, more"),
    "layers that are a list": (["policy_kwargs", "n_lstm_layers"], [1], r"n_lstm_layers names \[1\] layers"),
    "memory taken at once": (["policy_kwargs", "lstm_kwargs"], {"device": "cpu"}, "lstm_kwargs has 'device'"),
    "both directions": (["policy_kwargs", "lstm_kwargs"], {"bidirectional": True}, "lstm_kwargs has 'bidirectional'"),
    "arguments that are a number": (["policy_kwargs", "lstm_kwargs"], 7, "lstm_kwargs is 7: it must be an object"),
    "a critic that it does not hold": (["policy_kwargs", "shared_lstm"], True, "can be made"),
    "no memory": (["policy", "alias"], "MlpPolicy", "policy_kwargs has"),
    "a length that is none": (["settings", "sequence_length"], -3, "sequence_length=-3"),
    "a flag that is none": (["settings", "refresh_states"], "yes", "refresh_states='yes' is unknown"),
    "a rollout whose states are too large": (["settings", "n_steps"], 2**24, "asks for a rollout buffer of 5.* bytes"),
    "a buffer of the author's": (["rollout_buffer"], "evil.Buffer", "pass rollout_buffer_class="),
}


@pytest.fixture(scope="module")
def remembering(tmp_path_factory) -> Path:
    env, kwargs = {"actions": "multi_binary", "allowed": 0.5}, {"net_arch": [8], "lstm_hidden_size": 16}
    made = make(ClipPPO, "MlpLstmPolicy", env, use_masking=True, n_steps=32, policy_kwargs=kwargs)
    return made.save_safe(tmp_path_factory.mktemp("remembering") / "model")


@pytest.mark.parametrize("name", MEMORY_CHANGES)
def test_malicious_documents_with_memory_are_refused(name: str, remembering: Path, tmp_path: Path) -> None:
    document, tensors = read_safe(remembering)
    path, value, says = MEMORY_CHANGES[name]
    holder, key = at(document, path)
    holder[key] = value
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert re.search(says, message := refused(forge(tmp_path / "m.safetensors", document, tensors))), message
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MEMORY


def test_pickles_in_every_field_stay_text(good, tmp_path) -> None:
    flag = tmp_path / "flag"
    payload = base64.b64encode(cloudpickle.dumps(Canary(flag))).decode()
    original, tensors = read_safe(good)
    for number, path in enumerate(places(original)):
        for value in (payload, {":type:": "<class 'Canary'>", ":serialized:": payload}):
            document = copy.deepcopy(original)
            holder, key = at(document, path)
            holder[key] = value
            forged = forge(tmp_path / f"{number}.safetensors", document, tensors)
            # Where text is all that there is (versions, the class's name) it may stay; nothing comes of it.
            if path[0] not in ("versions", "class", "episodes"):
                refused(forged)
            else:
                load_or_refuse(forged)
    assert not flag.exists()


def load_or_refuse(path: Path) -> None:
    with nothing_executed(), suppress(SafeFileError):
        ClipPPO.load_safe(path)


# ---- Malicious tensors ----


def change_tensors(tensors: dict[str, th.Tensor], name: str) -> str:
    """Change them; returns what the error says."""
    weight, moment = "mlp_extractor.policy_net.0.weight", "optimizer.0.exp_avg"
    if name == "missing":
        del tensors[weight]
        return "the file has none|more than the file has"
    if name == "added":
        tensors["evil"] = th.zeros(1)
        return "'evil', which the policy does not have"
    if name == "other shape":
        tensors[weight] = tensors[weight].reshape(4, 8).contiguous()
        return "has shape"
    if name == "other type":
        tensors[weight] = tensors[weight].to(th.int64)
        return "is of type torch.int64"
    if name == "half":
        tensors[weight] = tensors[weight].to(th.float16)
        return "is of type torch.float16"
    if name == "nan weight":
        tensors[weight][0, 0] = np.nan
        return "is not finite: such a policy cannot act"
    if name == "inf moment":
        tensors[moment][:] = np.inf
        return "optimizer.0.exp_avg is not finite"
    if name == "negative square":
        tensors["optimizer.0.exp_avg_sq"][:] = -1
        return "optimizer.0.exp_avg_sq is negative"
    if name == "moment of no parameter":
        tensors["optimizer.999.exp_avg"] = tensors[moment].clone()
        return "is no part of an optimiser's state"
    if name == "moment of another shape":
        tensors[moment] = th.zeros(3)
        return "optimizer.0.exp_avg has shape"
    if name == "moment missing":
        del tensors[moment]
        return "state of parameter 0 has only"
    assert name == "path"
    tensors["../../etc/passwd"] = th.zeros(1)
    return "which the policy does not have"


TENSOR_CASES = (
    "missing",
    "added",
    "other shape",
    "other type",
    "half",
    "nan weight",
    "inf moment",
    "negative square",
    "moment of no parameter",
    "moment of another shape",
    "moment missing",
    "path",
)


@pytest.mark.parametrize("name", TENSOR_CASES)
def test_malicious_tensors_are_refused(name, good, tmp_path) -> None:
    document, tensors = read_safe(good)
    says = change_tensors(tensors, name)
    message = refused(forge(tmp_path / "m.safetensors", document, tensors))
    assert re.search(says, message), message


# ---- Malicious containers ----


def container(header: bytes, data: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + data


def with_metadata(text: str) -> bytes:
    return container(json.dumps({"__metadata__": {KEY: text}}).encode())


CONTAINERS = {
    "empty": b"",
    "four bytes": b"abcd",
    "zeros": b"\0" * 100,
    "header longer than the file": (2**40).to_bytes(8, "little") + b"{}",
    "header of all memory": (2**63).to_bytes(8, "little") + b"{}" * 50,
    "header that is no JSON": container(b"not json at all"),
    "header nested deeply": container(b"[" * 100_000),
    "tensor of terabytes": container(b'{"x":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}'),
    "tensor beyond numbers": container(
        b'{"x":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,4]}}', b"\0" * 4
    ),
    "tensor of negative shape": container(b'{"x":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', b"\0" * 4),
    "tensors that overlap": container(
        b'{"x":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"y":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}',
        b"\0" * 4,
    ),
    "another safetensors file": safetensors.torch.save({"x": th.zeros(2)}),
    "a document that is no JSON": with_metadata("import os"),
    "a document that is a list": with_metadata("[]"),
    "a document nested deeply": with_metadata("[" * 10**6),
    "a key twice": with_metadata('{"schema":1,"schema":1}'),
    "not a number": with_metadata('{"schema":NaN}'),
    "a number beyond floats": with_metadata('{"schema":1e999}'),
    "a number of a million digits": with_metadata('{"schema":' + "9" * 10**6 + "}"),
    "spaces": with_metadata('{"schema": 1}'),
    "no checksum": with_metadata('{"schema":1}'),
    "a checksum of another kind": with_metadata('{"schema":1,"sha256":{}}'),
    "a pickle": cloudpickle.dumps({"a": 1}),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_malicious_containers_are_refused(name, tmp_path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(CONTAINERS[name])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(path)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MEMORY


def test_a_header_longer_than_any_is_refused(tmp_path) -> None:
    path = tmp_path / "m.safetensors"
    with path.open("wb") as file:
        file.write((MAX_HEADER + 1).to_bytes(8, "little"))
        file.truncate(MAX_HEADER + 100)  # sparse
    assert "is not a whole safe file" in refused(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path) -> None:
    os.mkfifo(tmp_path / "m.safetensors")
    with pytest.raises(SafeFileError, match="is no regular file"):
        ClipPPO.load_safe(tmp_path / "m.safetensors")


def test_zips_are_refused_and_named(model, tmp_path) -> None:
    flag = tmp_path / "flag"
    model.save(tmp_path / "model.zip")
    # SB3's own zip with a pickle that runs a command when load() reads it; and a bomb, and a path out of the folder.
    evil = tmp_path / "evil.zip"
    with zipfile.ZipFile(tmp_path / "model.zip") as old, zipfile.ZipFile(evil, "w", zipfile.ZIP_DEFLATED) as new:
        data = json.loads(old.read("data"))
        data["evil"] = {":type:": "x", ":serialized:": base64.b64encode(cloudpickle.dumps(Canary(flag))).decode()}
        new.writestr("data", json.dumps(data))
        new.writestr("policy.pth", b"\0" * 10**7)
        new.writestr("../../evil", b"x")
    for path in (tmp_path / "model.zip", evil):
        assert "is a zip file, such as SB3's save() writes. load() reads those, and runs code" in refused(path)
    assert not flag.exists()


# ---- Damage ----


def regions(contents: bytes) -> dict[str, tuple[int, int]]:
    end = 8 + int.from_bytes(contents[:8], "little")
    return {"length": (0, 8), "header": (8, end), "data": (end, len(contents))}


@pytest.mark.parametrize("region", ["length", "header", "data"])
@CALM
@given(choices=st.data())
def test_every_flipped_bit_is_found(region, choices, good, tmp_path) -> None:
    contents = bytearray(good.read_bytes())
    start, end = regions(contents)[region]
    for _ in range(choices.draw(st.integers(1, 3))):
        contents[choices.draw(st.integers(start, end - 1))] ^= 1 << choices.draw(st.integers(0, 7))
    path = tmp_path / "m.safetensors"
    path.write_bytes(contents)
    if bytes(contents) != good.read_bytes():
        refused(path)


@CALM
@given(share=st.floats(0, 1, exclude_max=True))
def test_every_truncation_is_found(share, good, tmp_path) -> None:
    contents = good.read_bytes()
    path = tmp_path / "m.safetensors"
    path.write_bytes(contents[: int(share * len(contents))])
    refused(path)


@CALM
@given(junk=st.binary(max_size=300), at_start=st.booleans())
def test_junk_and_junk_added_are_refused(junk, at_start, good, tmp_path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(junk)
    refused(path)
    if junk:
        path.write_bytes(junk + good.read_bytes() if at_start else good.read_bytes() + junk)
        refused(path)


# ---- Fuzz: any JSON value at any place, rightly signed ----

JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.sampled_from([0, 1, -1, 2**31, 2**63, 10**30, 1e308, 1e-300]),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=5),
        st.sampled_from(["inf", "Box", "Dict", "Discrete", "linear", "uint8", "MlpPolicy", "Adam", "Tanh"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["type", "n", "schedule", "start", "pi", "x"]), inner, max_size=3),
    ),
    max_leaves=6,
)


def fuzz(choices, good: Path, tmp_path: Path) -> None:
    document, tensors = read_safe(good)
    for _ in range(choices.draw(st.integers(1, 2))):
        holder, key = at(document, choices.draw(st.sampled_from(places(document))))
        action = choices.draw(st.sampled_from(["replace", "remove"]))
        if action == "replace":
            holder[key] = choices.draw(JSON)
        else:
            del holder[key]
    load_or_refuse(forge(tmp_path / "m.safetensors", document, tensors))


@CALM
@given(choices=st.data())
def test_any_document_is_loaded_or_refused(choices, good, tmp_path) -> None:
    fuzz(choices, good, tmp_path)


@pytest.mark.long
@settings(CALM, max_examples=3000)
@given(choices=st.data())
def test_any_document_is_loaded_or_refused_long(choices, good, tmp_path) -> None:
    fuzz(choices, good, tmp_path)
