"""Losses of a reranker: logits of pairs, alone or beside the others of their list.

A list is a relevant product of a query and products that are not. Source: pointwise is binary cross-entropy; pairwise
is RankNet, Burges et al. 2005, section 3; listwise is the softmax cross-entropy of Gao, Dai and Callan 2021, Rethink
training of BERT rerankers (localized contrastive estimation), equation 5; margin is Hofstätter et al. 2020, Improving
efficient neural ranking models with cross-architecture knowledge distillation (Margin-MSE), equation 3.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def pointwise_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of logits (N,) and targets (N,), 0 to 1."""
    return functional.binary_cross_entropy_with_logits(logits, targets)


def pairwise_loss(logits: Tensor, lists: Tensor) -> Tensor:
    """Return the mean of ``log(1 + exp(s_other - s_relevant))`` over the others of all lists.

    Args:
        logits: (N,); the first of each list is the relevant one.
        lists: (N,) int64, the number of each pair's list, ascending.
    """
    is_first = _is_first(lists)  # (N,)
    relevant = logits[is_first][lists]  # (N,)
    terms = functional.softplus(logits - relevant)[~is_first]
    return terms.mean() if len(terms) else logits.sum() * 0


def listwise_loss(logits: Tensor, lists: Tensor) -> Tensor:
    """Return the mean over lists of minus the log of the relevant product's softmax; as ``pairwise_loss``."""
    sizes = torch.bincount(lists)  # (lists,)
    places = torch.arange(len(lists), device=lists.device) - (torch.cumsum(sizes, dim=0) - sizes)[lists]  # (N,)
    rows = torch.full((len(sizes), int(sizes.max())), -torch.inf, dtype=logits.dtype, device=logits.device)
    rows = rows.index_put((lists, places), logits)  # (lists, longest), each from its start
    return -torch.log_softmax(rows, dim=1)[:, 0].mean()


def margin_loss(logits: Tensor, teacher: Tensor, lists: Tensor) -> Tensor:
    """Return the mean squared difference of margins, student's and teacher's, between the first of a list and others.

    Args:
        logits: (N,) of the student.
        teacher: (N,) of the teacher, for the same pairs.
        lists: (N,) int64, the number of each pair's list, ascending.
    """
    is_first = _is_first(lists)
    margins = [each[is_first][lists] - each for each in (logits, teacher)]
    terms = ((margins[0] - margins[1]) ** 2)[~is_first]
    return terms.mean() if len(terms) else logits.sum() * 0


def _is_first(lists: Tensor) -> Tensor:
    return torch.cat([torch.ones(1, dtype=torch.bool, device=lists.device), lists[1:] != lists[:-1]])
