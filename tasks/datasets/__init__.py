"""Data sets: images, labels and class names.

`sources` opens what a user names, from own data (`formats`) or by the card of a named data set
(`named`); `index` reads every image once and writes the tables; `readers` reads an image again.
"""
