"""Normal forms with a letter in place of each integer, and what must be said of the letters so that they are unique."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rltoolkit.transform._expression import Constant, Polynomial, Term


@dataclass
class Letters:
    """Hands out letters that the answer does not use itself.

    Args:
        taken: letters that are not free, ``o`` and the constants e and i among them.
        values: what each letter stands for, in the order of the form.
    """

    taken: set[str]
    values: dict[str, int] = field(default_factory=dict)
    _signed: list[str] = field(default_factory=list)
    _positive: list[str] = field(default_factory=list)
    _coprime: list[tuple[str, ...]] = field(default_factory=list)
    _roots: list[str] = field(default_factory=list)

    def signed(self, value: int) -> str:
        """A letter for an integer that stands alone."""
        letter = self._take(value, "abc")
        self._signed.append(letter)
        return letter

    def positive(self, value: int, wanted: str) -> str:
        """A letter for a positive integer, ``wanted`` if that is free."""
        letter = self._take(value, wanted)
        self._positive.append(letter)
        return letter

    def radicand(self, value: int, index: int) -> str:
        """A letter for what stands under a root and holds no power that could be taken out of it."""
        letter = self.positive(value, "nr")
        power = {2: "square", 3: "cube"}.get(index, f"{index}th power")
        self._roots.append(f"${letter}$ is not divisible by the {power} of any prime")
        return letter

    def coprime(self, letters: Sequence[str]) -> None:
        """Say that a numerator's letters and the denominator have no divisor in common."""
        self._coprime.append(tuple(letters))

    @property
    def conditions(self) -> tuple[str, ...]:
        """What is said of the letters, each a clause."""
        clauses = []
        coprime = list(self._coprime)
        if self._signed:
            clauses.append(_of(self._signed, "integer"))
        if len(self._positive) == 2 and coprime == [tuple(self._positive)]:
            clauses.append(f"{_listed(self._positive)} are relatively prime positive integers")
            coprime = []
        elif self._positive:
            clauses.append(_of(self._positive, "positive integer"))
        clauses += [
            f"{_listed(each)} are relatively prime" if len(each) == 2 else f"the greatest common divisor of {_listed(each)} is 1"
            for each in coprime
        ]
        return (*clauses, *self._roots)

    def _take(self, value: int, wanted: str) -> str:
        free = [letter for letter in wanted + "abcdfghjklmnpqrstuvwxyz" if letter not in self.taken]
        if not free:
            raise ValueError("more integers than letters")
        self.taken.add(free[0])
        self.values[free[0]] = value
        return free[0]


def render_constant(constant: Constant, letters: Letters, signs: Sequence[str] | None = None) -> str:
    r"""The LaTeX of a constant's form. ``signs`` of the terms, ``+``, ``-`` or ``\pm``; by default those of the coefficients."""
    if constant.denominator == 1 and constant.pi == 0 and len(constant.terms) == 1 and _is_rational(constant.terms[0]):
        return letters.signed(constant.terms[0].coefficient)
    signs = signs or ["-" if term.coefficient < 0 else "+" for term in constant.terms]
    is_fraction = len(constant.terms) == 1 and constant.denominator > 1 and _is_rational(constant.terms[0])
    rendered, outside = [], list[str]()
    for term in constant.terms:
        factor = _coefficient(term, letters, "pr" if is_fraction else "k" if _is_rational(term) else "m")
        outside += [factor]
        rendered.append(factor + _literal(term, letters))
    lead = "" if signs[0] == "+" else signs[0]
    numerator = rendered[0] + "".join(f" {sign} {term}" for sign, term in zip(signs[1:], rendered[1:], strict=True))
    if constant.denominator == 1 and constant.pi == 0:
        return lead + numerator
    below = letters.positive(constant.denominator, "qs" if is_fraction else "p") if constant.denominator > 1 else ""
    if below and all(outside):  # a coefficient of 1 has no letter, and nothing in common with anything
        letters.coprime([*outside, below])
    bottom = f"{below}{_power(chr(92) + 'pi', constant.pi)}"
    return f"{lead}\\frac{{{numerator}}}{{{bottom}}}" if len(rendered) == 1 else f"\\frac{{{lead}{numerator}}}{{{bottom}}}"


def render_polynomial(polynomial: Polynomial, letters: Letters) -> str:
    """The LaTeX of a polynomial's form."""
    coefficients = [letters.signed(value) for value, _ in polynomial.terms]
    numerator = " + ".join(letter + monomial for letter, (_, monomial) in zip(coefficients, polynomial.terms, strict=True))
    if polynomial.denominator == 1:
        return numerator
    below = letters.positive(polynomial.denominator, "d")
    letters.coprime([*coefficients, below])
    return f"\\frac{{{numerator}}}{{{below}}}"


def _is_rational(term: Term) -> bool:
    return term.radicand == 1 and term.pi == 0 and not term.imaginary


def _coefficient(term: Term, letters: Letters, wanted: str) -> str:
    """A letter, or nothing for the coefficient 1 of a root."""
    return "" if abs(term.coefficient) == 1 and term.radicand > 1 else letters.positive(abs(term.coefficient), wanted)


def _literal(term: Term, letters: Letters) -> str:
    root = ""
    if term.radicand > 1:
        index = "" if term.index == 2 else f"[{term.index}]"
        root = f"\\sqrt{index}{{{letters.radicand(term.radicand, term.index)}}}"
    return root + _power("\\pi", term.pi) + ("i" if term.imaginary else "")


def _power(base: str, exponent: int) -> str:
    return "" if exponent == 0 else base if exponent == 1 else f"{base}^{{{exponent}}}"


def _listed(letters: Sequence[str]) -> str:
    quoted = [f"${letter}$" for letter in letters]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"


def _of(letters: Sequence[str], what: str) -> str:
    if len(letters) > 1:
        return f"{_listed(letters)} are {what}s"
    return f"{_listed(letters)} is {'an' if what[0] in 'aeiou' else 'a'} {what}"
