"""config.py: settings from TOML and back, and what is refused."""

from pathlib import Path

import pytest

from lutra_compiler.config import (
    CompressionConfig,
    LayerConfig,
    PruningConfig,
    SearchConfig,
    StageConfig,
    TrainingConfig,
    format_config,
    load_config,
    parse_config,
)
from lutra_compiler.errors import ConfigurationError

EVERYTHING = CompressionConfig(
    layers=(LayerConfig("conv1\n\"\x7f é", kind="int8"), LayerConfig(2, codewords=256, subvector=16, zero_codeword=True, codebook="trunk")),
    pruning=PruningConfig(rate=0.25, widths={"a.b": 3, "0": 4}, rounds=2, score="magnitude"),
    training=TrainingConfig(codewords=StageConfig(7, 0.125), augmentation="affine"),
    calibration_samples=77,
    seed=2**62,
    index_coding="auto",
)


@pytest.mark.parametrize("config", [CompressionConfig(), EVERYTHING])
def test_toml_reads_back_equal(config: CompressionConfig) -> None:
    assert parse_config(format_config(config)) == config


def test_what_is_left_out_keeps_its_default() -> None:
    config = parse_config("[training]\nbatch_size = 64\n[[layers]]\nlayer = 'fc*'\nkind = 'int8'")
    assert config == CompressionConfig(layers=(LayerConfig("fc*", kind="int8"),), training=TrainingConfig(batch_size=64))


@pytest.mark.parametrize(
    ("layer", "matches"),
    [("conv1", True), ("conv*", True), ("conv[12]", True), (3, True), ("conv", False), ("3", False), (1, False), ("CONV1", False)],
)
def test_a_layer_is_named_numbered_or_globbed(layer: int | str, matches: bool) -> None:
    assert LayerConfig(layer).matches("conv1", 3) is matches


def test_a_name_with_glob_characters_matches_itself() -> None:
    assert LayerConfig("features[0]").matches("features[0]", 0)


def test_the_first_entry_that_matches_a_layer_is_the_one() -> None:
    config = CompressionConfig(layers=(LayerConfig("a", codewords=32), LayerConfig("*", codewords=64)))
    assert [config.layer(name, 0).codewords for name in "ab"] == [32, 64]  # type: ignore[union-attr]
    assert CompressionConfig().layer("a", 0) is None


@pytest.mark.parametrize(("codewords", "bits"), [(16, 4), (32, 8), (256, 8)])
def test_sixteen_codewords_need_four_bits(codewords: int, bits: int) -> None:
    assert LayerConfig(codewords=codewords).index_bits == bits


def test_epochs_are_scaled_and_rounded_up() -> None:
    training = TrainingConfig(StageConfig(0, 1), StageConfig(1, 1), StageConfig(4, 1), StageConfig(10, 1))
    config = CompressionConfig(training=training, search=SearchConfig(recovery=StageConfig(10, 1e-3))).with_epochs_scaled(0.3)
    assert config.search.recovery.epochs == 3
    scaled = config.training
    assert [scaled.pruning.epochs, scaled.recovery.epochs, scaled.assignment.epochs, scaled.codewords.epochs] == [0, 1, 2, 3]


def test_learning_rates_rise_during_warmup_and_fall_to_zero() -> None:
    stage = StageConfig(10, 0.4, warmup=2)
    assert [stage.rate_at(epoch) for epoch in (0, 1, 2, 6, 10)] == pytest.approx([0, 0.2, 0.4, 0.2, 0])
    assert [StageConfig(10, 0.4).rate_at(epoch) for epoch in (0, 5, 10)] == pytest.approx([0.4, 0.2, 0])
    assert StageConfig(100, 1).scaled(0.07).epochs == 7
    assert stage.scaled(0.25) == StageConfig(3, 0.4, warmup=0.5)


@pytest.mark.parametrize("factor", [0, -1, float("nan"), float("inf"), 1001])
def test_a_scale_of_epochs_out_of_range_is_refused(factor: float) -> None:
    with pytest.raises(ConfigurationError, match="scale of epochs"):
        CompressionConfig().with_epochs_scaled(factor)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[trainin]", r"x\.toml has an unknown key 'trainin'; did you mean 'training'\?"),
        ("[training]\nbatch_sizes = 3", r"x\.toml\.training has an unknown key 'batch_sizes'; did you mean 'batch_size'\?"),
        ("zzz = 1", r"unknown key 'zzz'; known: calibration_samples, importance, index_coding, layers, method, pruning, recon"),
        ("[[layers]]\ncodewords = 7", r"codewords is 7; allowed: 16, 32, 64, 128, 256"),
        ("[[layers]]\nsubvector = 3", r"subvector is 3; allowed: 1, 2, 4, 8, 16"),
        ("[[layers]]\nkind = 'pqq'", r"layers\[0\]\.kind is 'pqq'; allowed: 'int8', 'pq'"),
        ("[[layers]]\ncodewords = '16'", r"layers\[0\]\.codewords is '16'; it must be a 64-bit integer"),
        ("[[layers]]\nzero_codeword = 1", r"zero_codeword is 1; it must be true or false"),
        ("layers = 3", r"layers is 3; it must be a list"),
        ("pruning = 3", r"pruning is 3; it must be a table"),
        ("index_coding = 'always'", r"index_coding is 'always'; allowed: 'never', 'auto'"),
        ("seed = true", r"seed is True; it must be a 64-bit integer"),
        ("seed = -1", r"seed is -1; it must be at least 0"),
        ("[pruning]\nrate = 1.0", r"rate is 1\.0; it must be at least 0 and below 1"),
        ("[pruning]\nrate = nan", r"rate is nan; it must be a finite number"),
        ("[pruning.widths]\nconv1 = 0", r"widths\['conv1'\] is 0; at least one must stay"),
        ("[pruning]\nscore = 'best'", r"score is 'best'; allowed: 'magnitude', 'taylor'"),
        ("[training.codewords]\nepochs = 3", r"training\.codewords lacks the key 'learning_rate'"),
        ("[training]\nrecovery = {epochs = 3, learning_rate = 1, warmup = 3}", r"warmup is 3\.0; it must be at least 0 and below 3"),
        ("[training]\ndistillation = 1.5", r"distillation is 1\.5; it must be at least 0 and at most 1"),
        ("x = [[[", r"x\.toml is not valid TOML"),
        ("seed = " + "1" * 5000, r"x\.toml is not valid TOML"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_allowed(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse_config(text, "x.toml")


def test_settings_made_in_python_are_checked_too() -> None:
    with pytest.raises(ConfigurationError, match="subvector is 5"):
        LayerConfig(subvector=5)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nosuch\.toml cannot be read"):
        load_config(tmp_path / "nosuch.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="not a UTF-8 text"):
        load_config(tmp_path / "binary.toml")
