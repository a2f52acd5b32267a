"""Writes src/images/letters.json: the outlines of a typeface's letters, for the labels of pictures (src/images/lettering.ts).

    python3 tools/make_letters.py REGULAR.ttf SEMIBOLD.ttf LICENCE.txt    (needs fonttools)

The file in the repository was made from Inter, version 4.001, as the npm package @expo-google-fonts/inter 0.4.2 has it. Lengths are in thousandths of the
size, y upwards from the base line. A glyph is its advance and its outline, of `M x y`, `L x y`, `Q cx cy x y` and `Z`; the one without a name stands for letters that
are not there. Kerning is of ASCII pairs alone: for a left letter, each right letter with what is added to the advance.
"""
import json
import os
import sys

from fontTools.pens.basePen import BasePen
from fontTools.ttLib import TTFont

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../src/images/letters.json")
ASCII = [chr(c) for c in range(0x20, 0x7F)]
LETTERS = ASCII + [chr(c) for c in range(0xA0, 0x180)] + list("–—‘’“”•…→±×·−≤≥²³")


class Outline(BasePen):
    def __init__(self, font, scale):
        super().__init__(font.getGlyphSet())
        self.parts, self.scale = [], scale

    def put(self, letter, *points):
        self.parts.append(letter + " ".join(str(round(v * self.scale)) for point in points for v in point))

    def _moveTo(self, p):
        self.put("M", p)

    def _lineTo(self, p):
        self.put("L", p)

    def _qCurveToOne(self, c, p):
        self.put("Q", c, p)

    def _closePath(self):
        self.parts.append("Z")


def pair_tables(font):
    gpos = font["GPOS"].table
    wanted = {i for f in gpos.FeatureList.FeatureRecord if f.FeatureTag == "kern" for i in f.Feature.LookupListIndex}
    for i in sorted(wanted):
        for table in gpos.LookupList.Lookup[i].SubTable:
            table = getattr(table, "ExtSubTable", table)
            if table.LookupType == 2:
                yield table


def kerning(tables, left, right):
    for table in tables:
        if left not in table.Coverage.glyphs:
            continue
        if table.Format == 1:
            for record in table.PairSet[table.Coverage.glyphs.index(left)].PairValueRecord:
                if record.SecondGlyph == right:
                    return record.Value1.XAdvance if record.Value1 else 0
        else:
            record = table.Class1Record[table.ClassDef1.classDefs.get(left, 0)].Class2Record[table.ClassDef2.classDefs.get(right, 0)]
            return getattr(record.Value1, "XAdvance", 0) if record.Value1 else 0
    return 0


def face(path):
    font = TTFont(path)
    scale, names, glyphs, pairs = 1000 / font["head"].unitsPerEm, font.getBestCmap(), {}, {}
    missing = font.getGlyphOrder()[0]
    for letter in LETTERS + [""]:
        name = names.get(ord(letter)) if letter else missing
        if name is None:
            continue
        pen = Outline(font, scale)
        font.getGlyphSet()[name].draw(pen)
        glyphs[letter] = f"{round(font['hmtx'][name][0] * scale)} {''.join(pen.parts)}"
    tables = list(pair_tables(font))
    for left in ASCII:
        near = {right: round(kerning(tables, names[ord(left)], names[ord(right)]) * scale) for right in ASCII}
        near = {right: move for right, move in near.items() if abs(move) >= 8}
        if near:
            pairs[left] = " ".join(f"{right}{move}" for right, move in near.items())
    return {"glyphs": glyphs, "kerning": pairs}


if __name__ == "__main__":
    regular, semibold, licence = sys.argv[1:]
    rule = TTFont(regular)
    scale = 1000 / rule["head"].unitsPerEm
    letters = {
        "licence": open(licence).read(),
        "ascent": round(rule["OS/2"].sTypoAscender * scale),
        "descent": round(-rule["OS/2"].sTypoDescender * scale),
        "capital": round(rule["OS/2"].sCapHeight * scale),
        "regular": face(regular),
        "semibold": face(semibold),
    }
    with open(OUT, "w") as file:
        json.dump(letters, file, ensure_ascii=False, indent=2)
        file.write("\n")
