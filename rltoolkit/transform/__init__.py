"""Data sets whose answers are integers, made of problems with answers of any form.

``answer_form`` says what an answer looks like and which integer can be asked for instead, ``stages`` lets a language model rewrite
the question and checks what it wrote, ``transformation`` does so for a whole table. Command: ``python -m rltoolkit.transform_dataset``.

Source: DAPO, arXiv:2503.14476, section 3.5 and the appendix on dataset transformation.
"""
