r"""Expressions: LaTeX -> sympy, and the normal forms that letters are put into.

A constant is brought to

    (c_1 sqrt[i_1](n_1) pi^{e_1} + c_2 sqrt[i_2](n_2) pi^{e_2} + ...) / d,     c_j, n_j, d integers, gcd(c_1, c_2, ..., d) = 1,

with n_j free of i_j-th powers; an imaginary term carries an ``i``. An expression in symbols is brought to an expanded polynomial with
integer coefficients over one integer. Either is unique, so that asking for the sum of its integers is a question with one answer.
What has no such form gives None.

Nothing is evaluated before ``_check_size`` has seen it: sympy would compute 9^{9^9}.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import reduce
from math import lcm
from typing import Any

import sympy

LONGEST = 300  # characters
LARGEST_EXPONENT = 64
LARGEST_INTEGER = 10**40

_BARE_ARGUMENT = re.compile(r"(\\sqrt(?:\[\d+\])?)\s*(\d|[a-zA-Z]|\\pi)")
_GROUP = r"\{(?:[^{}]|\{[^{}]*\})*\}"
_BARE_FRACTION = re.compile(rf"\\frac\s*(\d|{_GROUP})\s*(\d|[a-zA-Z]\b|{_GROUP})")


@dataclass(frozen=True)
class Term:
    """coefficient * radicand ** (1 / index) * pi ** pi, times i where ``imaginary``; radicand 1: no root."""

    coefficient: int
    radicand: int = 1
    index: int = 2
    pi: int = 0
    imaginary: bool = False


@dataclass(frozen=True)
class Constant:
    """The sum of ``terms`` over ``denominator`` and a power of pi."""

    terms: tuple[Term, ...]
    denominator: int
    pi: int


@dataclass(frozen=True)
class Polynomial:
    """The sum of coefficient * monomial (LaTeX, empty for 1) over ``denominator``."""

    terms: tuple[tuple[int, str], ...]
    denominator: int


def parse(text: str) -> Any:
    """The sympy expression that LaTeX denotes, decimals as exact fractions.

    Raises:
        ValueError: too long, too large, or no LaTeX that the parser knows. Other exceptions may come from the parser.
    """
    from latex2sympy2_extended import latex2sympy
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig

    text = _BARE_ARGUMENT.sub(r"\1{\2}", text)
    text = _BARE_FRACTION.sub(
        lambda match: r"\frac" + "".join(part if part[0] == "{" else f"{{{part}}}" for part in match.groups()), text
    )
    if not text or len(text) > LONGEST:
        raise ValueError(f"an expression must have 1 to {LONGEST} characters, got {len(text)}")
    # a tree of unevaluated operations; the library reads symbols in lower case unless told
    tree = latex2sympy(text, conversion_config=ConversionConfig(lowercase_symbols=False))
    if not isinstance(tree, sympy.Expr):
        raise ValueError(f"not an expression: {text}")
    _check_size(tree)
    exact = {number: sympy.Rational(str(number)) for number in tree.atoms(sympy.Float)}
    exact[sympy.Symbol("i")] = sympy.I
    evaluated = _evaluated(tree).xreplace(exact)
    if not evaluated.is_finite and not evaluated.free_symbols:
        raise ValueError(f"not a finite number: {text}")
    return evaluated


def constant(expression: Any) -> Constant | None:
    """The normal form of an expression without symbols, or None."""
    if expression.free_symbols:
        return None
    found = [_term(basis, value) for basis, value in sympy.expand(sympy.radsimp(expression)).as_coefficients_dict().items()]
    if not found or None in found:
        return None
    parts = [part for part in found if part is not None]
    denominator = reduce(lcm, (int(value.q) for _, value in parts))
    pi = max(0, -min(term.pi for term, _ in parts))
    terms = [
        Term(int(value * denominator), term.radicand, term.index, term.pi + pi, term.imaginary)
        for term, value in parts
        if value != 0
    ]
    terms.sort(key=lambda term: (term.imaginary, term.pi, term.index, term.radicand))
    return Constant(tuple(terms) or (Term(0),), denominator, pi)


def polynomial(expression: Any) -> Polynomial | None:
    """The normal form of an expanded polynomial in its symbols, or None; a product of sums is none."""
    symbols = sorted(expression.free_symbols, key=str)
    factored = any(
        node.has(sympy.Add)
        for node in sympy.preorder_traversal(expression)
        if isinstance(node, (sympy.Mul, sympy.Pow)) and node.free_symbols
    )
    if (
        not symbols
        or any(len(str(symbol)) > 1 for symbol in symbols)
        or factored
        or expression.has(sympy.I)
        or not expression.is_polynomial(*symbols)
    ):
        return None
    terms = sympy.Poly(expression, *symbols).terms()
    if not all(value.is_Rational for _, value in terms):
        return None
    denominator = reduce(lcm, (int(value.q) for _, value in terms))
    monomials = ["".join(_power(str(s), e) for s, e in zip(symbols, exponents, strict=True)) for exponents, _ in terms]
    return Polynomial(
        tuple((int(value * denominator), monomial) for (_, value), monomial in zip(terms, monomials, strict=True)), denominator
    )


def _power(base: str, exponent: int) -> str:
    return "" if exponent == 0 else base if exponent == 1 else f"{base}^{{{exponent}}}"


def _term(basis: Any, value: Any) -> tuple[Term, Any] | None:
    """A basis element such as sqrt(6) * pi and its rational coefficient, or None where it is made of anything else."""
    radicand, index, pi, imaginary = 1, 2, 0, False
    for factor in sympy.Mul.make_args(basis):
        base, exponent = factor.as_base_exp()
        if factor == sympy.I:
            imaginary = True
        elif base == sympy.pi and exponent.is_Integer:
            pi = int(exponent)
        elif base.is_Integer and base > 1 and exponent.is_Rational and 0 < exponent < 1 and radicand == 1:
            radicand, index = int(base ** int(exponent.p)), int(exponent.q)
        elif factor != 1:
            return None
    return (Term(1, radicand, index, pi, imaginary), value) if value.is_Rational else None


def _check_size(tree: Any) -> None:
    """Refuse what sympy would take long, or much memory, to evaluate. Raises ValueError."""
    for node in sympy.preorder_traversal(tree):
        if node.is_Integer and abs(node) > LARGEST_INTEGER:
            raise ValueError(f"an integer of more than {len(str(LARGEST_INTEGER)) - 1} digits")
        if isinstance(node, sympy.Pow) and not all(_small(part) for part in sympy.preorder_traversal(node.exp)):
            raise ValueError(f"an exponent that is too large to evaluate: {node}")
        if isinstance(node, sympy.factorial) and not (node.args[0].is_Integer and node.args[0] <= 20):
            raise ValueError(f"a factorial that is too large to evaluate: {node}")


def _small(part: Any) -> bool:
    """Whether an exponent may hold this: a number or symbol, or one over a number."""
    if part.is_Pow:
        return bool(part.exp == -1)
    return not part.is_number or not part.is_Atom or bool(abs(part) <= LARGEST_EXPONENT)


def _evaluated(tree: Any) -> Any:
    """The same expression with sympy's own simplifications on building."""
    if not tree.args:
        return tree
    return tree.func(*[_evaluated(argument) for argument in tree.args])
