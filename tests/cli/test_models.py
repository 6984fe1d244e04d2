import json

import torchvision


def test_all_of_torchvision_in_order(bamsearch_cli):
    result = bamsearch_cli("models")
    assert result.stdout.splitlines() == sorted(torchvision.models.list_models())
    assert "timm:NAME" in result.stderr


def test_part_of_a_name_in_any_case(bamsearch_cli):
    result = bamsearch_cli("models", "ResNet1")
    assert {"resnet101", "resnet18", "fcn_resnet101"} <= set(result.stdout.splitlines())
    assert "resnet50" not in result.stdout
    assert "bamsearch sites deeplabv3_resnet101\n" in result.stderr


def test_json_is_a_list(bamsearch_cli):
    names = json.loads(bamsearch_cli("models", "squeeze", "--json", "-q").stdout)
    assert names == ["squeezenet1_0", "squeezenet1_1"]


def test_no_such_part_is_nothing_to_do(bamsearch_cli):
    result = bamsearch_cli("models", "xyzzy", "--json")
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith("bamsearch: nothing to do: no torchvision model has 'xyzzy'")
    assert result.stderr.count("\n") == 1
