r"""Answers as data sets write them, each read by hand: what it is counted as, its form, and the integer that is asked for instead."""

import pytest

from rltoolkit.transform.algebra import Algebra
from rltoolkit.transform.answer_form import Form, clean, is_text, read_form, read_integer

KEPT = {
    "42": "42",
    "-7": "-7",
    "+3": "3",
    "007": "7",
    "73.0": "73",
    "10,080": "10080",
    r"10,\!080": "10080",
    r"11,\! 111,\! 111,\! 100": "11111111100",
    "1{,}234": "1234",
    "$36$": "36",
    r"\boxed{19}": "19",
    "x=5": "5",
    "−4": "-4",  # U+2212
    "2" * 30: "2" * 30,
}

TEXTS = [
    r"\text{Evelyn}", "east", r"\text{(C)}", "(B)", "E", r"\text{even}", r"\mbox{no solution}", "Yes", "None of the above",
    "convex polygon",
]  # fmt: skip

FORMS = [
    # fractions: p + q in lowest terms, the sign stays in the form
    (r"\frac{14}{3}", "fraction", r"\frac{p}{q}", 17),  # 14 + 3
    (r"\frac43", "fraction", r"\frac{p}{q}", 7),
    (r"\frac 59", "fraction", r"\frac{p}{q}", 14),
    (r"\dfrac{6}{4}", "fraction", r"\frac{p}{q}", 5),  # 3/2
    ("-7/3", "fraction", r"-\frac{p}{q}", 10),  # 7 + 3
    (r"1\frac{4}{5}", "fraction", r"\frac{p}{q}", 14),  # 9/5
    (r"\frac{1}{2}+\frac{1}{3}", "fraction", r"\frac{p}{q}", 11),  # 5/6
    (r"\frac{1}{2^{10}}", "fraction", r"\frac{p}{q}", 1025),  # 1 + 1024
    # decimals
    ("1.25", "decimal", r"\frac{p}{q}", 9),  # 5/4
    (".35625", "decimal", r"\frac{p}{q}", 217),  # 57/160
    ("-0.5", "decimal", r"-\frac{p}{q}", 3),  # 1/2
    # roots
    (r"11 - 2\sqrt{6}", "root", r"k - m\sqrt{n}", 19),  # the paper's example: 11 + 2 + 6
    (r"\frac{3+\sqrt{5}}{2}", "root", r"\frac{k + \sqrt{n}}{p}", 10),  # section 3.5: (a + sqrt b) / c -> 3 + 5 + 2
    (r"\sqrt{51}", "root", r"\sqrt{n}", 51),
    (r"\sqrt{8}", "root", r"m\sqrt{n}", 4),  # 2 sqrt 2
    (r"-\sqrt3", "root", r"-\sqrt{n}", 3),
    (r"\frac{1}{\sqrt{3}}", "root", r"\frac{\sqrt{n}}{p}", 6),  # sqrt 3 / 3
    (r"\frac{3\sqrt{3}}{4}", "root", r"\frac{m\sqrt{n}}{p}", 10),
    (r"\frac{1}{1+\sqrt{2}}", "root", r"-k + \sqrt{n}", 3),  # sqrt 2 - 1
    (r"\frac{\sqrt{2}+\sqrt{6}}{4}", "root", r"\frac{\sqrt{n} + \sqrt{r}}{p}", 12),  # 2 + 6 + 4
    (r"\sqrt[3]{16}", "root", r"m\sqrt[3]{n}", 4),  # 2 cbrt 2
    # pi and i
    (r"288 \pi", "pi", r"m\pi", 288),
    (r"\pi", "pi", r"m\pi", 1),
    (r"-\frac{\pi}{6}", "pi", r"-\frac{m\pi}{p}", 7),  # 1 + 6
    (r"18+2\pi", "pi", r"k + m\pi", 20),
    (r"\frac{20000}{\pi}", "pi", r"\frac{k}{\pi}", 20000),
    ("6 - 5i", "complex", "k - mi", 11),
    (r"\frac{1+i\sqrt{3}}{2}", "complex", r"\frac{k + \sqrt{n}i}{p}", 6),  # 1 + 3 + 2
    # what is an integer after all
    (r"6 \times 10^{3}", "integer", "a", 6000),
    (r"\sqrt{16}", "integer", "a", 4),
    ("5!", "integer", "a", 120),
    # percentages, units, other numerals
    (r"40\%", "percentage", r"n\%", 40),
    ("12.5%", "percentage", r"\frac{p}{q}\%", 27),  # 25/2
    (r"90^\circ", "unit", r"n ^\circ", 90),
    ("45°", "unit", "n °", 45),
    (r"864 \mbox{ inches}^2", "unit", r"n \mbox{ inches}^2", 864),
    ("5 cm", "unit", "n cm", 5),
    (r"5.4 \text{ cents}", "unit", r"\frac{p}{q} \text{ cents}", 32),  # 27/5
    (r"\$18.90", "unit", r"\$\frac{p}{q}", 199),  # 189/10
    (r"\$32,\!348", "unit", r"\$n", 32348),
    (r"2\sqrt{5}\text{ km}", "unit", r"m\sqrt{n} \text{ km}", 7),
    ("2516_8", "base", "n_{8}", 2516),
    ("4210_{5}", "base", "n_{5}", 4210),
    ("3:4", "ratio", "m:n", 7),
    ("2^{100}", "power", "2^{n}", 100),
    # tuples, sets, lists: integers that stand alone keep their signs
    ("(6,31,-1)", "tuple", "(a, b, c)", 36),  # 6 + 31 - 1
    (r"\left( 3, \frac{\pi}{2} \right)", "tuple", r"(a, \frac{m\pi}{p})", 6),  # 3 + 1 + 2
    (r"\left( \frac{3}{2}, -13 \right)", "tuple", r"(\frac{p}{q}, a)", -8),  # 3 + 2 - 13
    (r"\{1\pm\sqrt{5},-2\}", "set", r"\{k \pm \sqrt{n}, a\}", 4),  # 1 + 5 - 2
    ("1,-2", "list", "a, b", -1),
    ("3, 5, 7", "list", "a, b, c", 15),
    (r"2 \text{ and } 6", "list", "a, b", 8),
    (r"\begin{pmatrix} -1/3 \\ 2/3 \end{pmatrix}", "matrix", r"\begin{pmatrix} -\frac{p}{q} \\ \frac{r}{s} \end{pmatrix}", 9),
    (r"\begin{pmatrix} -1 & 0 \\ 0 & 2 \end{pmatrix}", "matrix", r"\begin{pmatrix} a & b \\ c & d \end{pmatrix}", 1),
    # intervals; (1, 2) alone is read as a pair, which asks for the same sum
    ("(3,4]", "interval", "(a, b]", 7),
    (r"(-\infty, 0]", "interval", r"(-\infty, a]", 0),
    (r"x \in [-2,7]", "interval", "[a, b]", 5),
    (r"(0,9) \cup (9,36)", "union", r"(a, b) \cup (c, d)", 54),  # 0 + 9 + 9 + 36
    (r"x \le \frac{5}{2}", "inequality", r"x \le \frac{p}{q}", 7),
    # sums with symbols, whose letters are not used again
    ("x^3+3x-6", "polynomial", "ax^{3} + bx + c", -2),  # 1 + 3 - 6
    (r"\frac{11+9a}{20}", "polynomial", r"\frac{ba + c}{d}", 40),  # 9 + 11 + 20
    ("3R^2", "polynomial", "aR^{2}", 3),
    ("y = -2x + 3", "equation", "y = ax + b", 1),  # -2 + 3
    (r"3 \pm 2 \sqrt{2}", "plus-minus", r"k \pm m\sqrt{n}", 7),
    (r"\frac{1 \pm \sqrt{5}}{2}", "plus-minus", r"\frac{k \pm \sqrt{n}}{p}", 8),  # 1 + 5 + 2
]

UNKNOWN = [
    r"\cot x", "(a+5)(b+2)", r"\sqrt{2+\sqrt{3}}", r"\ln 2", "5x - 7y + 11z + 4 = 0", "4:6", r"\frac{1}{0}", "", "{", r"\foo{3}", "???",
    "9^{9^9}", "9^{9^{9^{9}}}", "100000!", "(" * 2000, "1+" * 5000 + "1", "__import__('os').system('true')",
]  # fmt: skip


@pytest.mark.parametrize(("answer", "integer"), KEPT.items())
def test_an_integer_is_kept(answer, integer):
    assert read_integer(answer) == integer
    assert not is_text(answer)


@pytest.mark.parametrize("answer", TEXTS)
def test_words_hold_no_integer(answer):
    assert is_text(answer)
    assert read_integer(answer) is None


@pytest.mark.parametrize(("answer", "kind", "template", "integer"), FORMS)
def test_a_form_asks_for_the_sum_of_its_letters(answer, kind, template, integer):
    assert read_integer(answer) is None
    assert not is_text(answer)
    form = read_form(answer)
    assert (form.kind, form.template, form.integer) == (kind, template, integer)


@pytest.mark.parametrize("answer", UNKNOWN)
def test_what_has_no_form_gives_none(answer):
    assert read_integer(answer) is None
    assert not is_text(answer)
    assert read_form(answer) is None


def test_conditions_make_the_letters_unique():
    assert read_form(r"\frac{14}{3}").sentence == r"$\frac{p}{q}$, where $p$ and $q$ are relatively prime positive integers"
    assert read_form(r"11 - 2\sqrt{6}").conditions == (
        "$k$, $m$ and $n$ are positive integers",
        "$n$ is not divisible by the square of any prime",
    )
    # with 1 + 2 sqrt 3 over 5, letters could share a factor; with 1 + sqrt 3 over 5, none can: the root's coefficient is 1
    assert "the greatest common divisor of $k$, $m$ and $p$ is 1" in read_form(r"\frac{1+2\sqrt{3}}{5}").conditions
    assert not any("divisor" in clause for clause in read_form(r"\frac{1+\sqrt{3}}{5}").conditions)
    assert read_form("(6,31,-1)").sentence == "$(a, b, c)$, where $a$, $b$ and $c$ are integers"


def test_looks_are_taken_off():
    assert clean(r"\[\left(\dfrac{1}{2},\;3\right)\]") == r"(\frac{1}{2}, 3)"
    assert clean(r"\boxed{\frac{1}{2}}.") == r"\frac{1}{2}"


@pytest.fixture(scope="module")
def algebra():
    return Algebra(workers=2, seconds=1)


def test_every_form_gives_its_answer_back_says_math_verify(algebra):
    """The library's own reading of the answer and of the form with its values, which shares no code with ours."""
    unread = ("base", "ratio", "plus-minus", "percentage")  # by math-verify, or read as something else
    answers = [answer for answer, kind, _, _ in FORMS if kind not in unread and answer != "45°"]
    forms = algebra.forms(answers)
    wrong = [a for a, form in zip(answers, forms, strict=True) if algebra.gives_answer(form, a) is not True]
    assert wrong == []


def test_a_form_that_does_not_give_the_answer_is_seen(algebra):
    answer = "(a+5)(b+2)"  # no form of ours, so a model may propose one
    assert algebra.gives_answer(Form("", "(a+m)(b+n)", {"m": 5, "n": 2}), answer) is True
    assert algebra.gives_answer(Form("", "(a+m)(b+n)", {"m": 2, "n": 5}), answer) is False
    assert algebra.gives_answer(Form("", r"\text{the letter } n", {"n": 5}), r"\text{the fifth letter}") is not True


def test_what_takes_too_long_is_not_known_and_the_next_answer_is(algebra):
    bomb = r"\binom{10^{9}}{5 \cdot 10^{8}}"
    assert algebra.forms([bomb, r"\frac{1}{2}"])[0] is None
    assert algebra.gives_answer(Form("", "9^{9^{n}}", {"n": 9}), "1") is not True
    assert algebra.forms([r"\frac{1}{2}"])[0].integer == 3
