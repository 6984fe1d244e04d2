"""The cost of a BAM in closed form: exact integers, without building it, no torch.

With h = max(C // r, 1), a map of C x H x W and T frames (1 for an image), for one input:

====================  =====================================  ==================================
term                  ``paper``                              ``official``
====================  =====================================  ==================================
parameters            3Ch + 18h^2 + 5h + 3C + 3              3Ch + 18h^2 + 13h + C + 1
convolution, linear   T·HW (Ch + 18h^2 + h) + 2Ch            the same
pooling               C·T·HW                                 the same
batch norm            2C + 2·T·HW                            2h + 6h·T·HW
====================  =====================================  ==================================

``init="identity"`` adds one parameter, the gate. The unit is fvcore's: a multiply-add is 1; average
pooling counts 1 per value, batch norm in eval mode 2 (scale and shift); biases, sigmoid, ReLU and
the elementwise F + F·M are not counted. The dilation affects neither parameters nor MACs, only
latency and receptive field.
"""

from __future__ import annotations

from typing import get_args

from bamsearch.records import Cost, Init, Site, Variant, check_choice, check_positive


def hidden_channels(channels: int, reduction: int) -> int:
    """Channels h inside both branches: C // r, at least 1.

    Raises:
        InvalidValueError: a value is not a positive integer.
    """
    return max(check_positive("channels", channels) // check_positive("reduction", reduction), 1)


def effective_dilation(site: Site, dilation: int) -> int:
    """The smallest dilation that is equivalent to this one at the site: min(d, max(H, W)).

    For d >= max(H, W), every outer tap of a 3x3 kernel reads padding, so all such dilations are
    equivalent.

    Raises:
        InvalidValueError: dilation is not a positive integer.
    """
    return min(check_positive("dilation", dilation), max(site.height, site.width))


def bam_cost(
    site: Site,
    reduction: int,
    dilation: int,
    *,
    variant: Variant = "paper",
    init: Init = "paper",
) -> Cost:
    """Cost of a BAM at a site, for one input (one clip if the site has frames).

    Exactly equal to fvcore's count of forward in eval mode; see the formula in the module
    docstring.

    Args:
        site: the site; its layout does not matter.
        reduction: r, the divisor of the channels.
        dilation: d; validated, but does not affect the cost.
        variant: ``paper`` or ``official``.
        init: ``paper``, or ``identity`` with one more parameter, the gate.

    Returns:
        Cost: ``macs`` with pooling and batch norm, ``conv_linear_macs`` without.

    Raises:
        InvalidValueError: reduction, dilation, variant or init is out of range.
    """
    check_positive("dilation", dilation)
    check_choice("variant", variant, get_args(Variant))
    check_choice("init", init, get_args(Init))
    c, h = site.channels, hidden_channels(site.channels, reduction)
    positions = (1 if site.frames is None else site.frames) * site.height * site.width
    conv_linear = positions * (c * h + 18 * h * h + h) + 2 * c * h
    params = 3 * c * h + 18 * h * h
    if variant == "paper":
        params += 5 * h + 3 * c + 3
        norm = 2 * c + 2 * positions
    else:
        params += 13 * h + c + 1
        norm = 2 * h + 6 * h * positions
    return Cost(
        params=params + (init == "identity"),
        macs=conv_linear + c * positions + norm,
        conv_linear_macs=conv_linear,
    )
