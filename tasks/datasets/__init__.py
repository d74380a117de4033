"""Data sets: images, labels and class names.

`sources` opens what a user names, from own data (`formats`) or by the card of a named data set
(`named`); `index` reads every image and writes the tables, and `known_files`
keeps it from reading unchanged ones again; `readers` reads an image again.
"""
