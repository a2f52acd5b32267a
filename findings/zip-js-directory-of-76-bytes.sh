#!/bin/sh
# @zip.js/zip.js 2.24.0 does not list valid archives that end in zip64 records which the plain end record does not need (as torch.save writes them), where
# the directory's first entry has as many bytes as those records together: 56 + 20 = 76, that is 46 and a name of 30 characters.
#
# The end record gives the directory's place and length, and both are right. The library nevertheless looks where the directory would lie if it
# ended at the plain end record, 76 bytes further on; it finds an entry's signature there, the second one's, and believes that. It then lists one
# entry less and runs out of the directory: "Central directory header not found". With a name of 29 or 31 characters there is no signature at that
# place, and all is well. Python's zipfile reads all three.
#
# Needs node, npm and python3. Exits 0 while it behaves as described, 1 once it does not.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --prefix "$folder" @zip.js/zip.js@2.24.0 >/dev/null
cat > look.mjs <<'END'
import fs from "node:fs";
import { crc32 } from "node:zlib";
import { Uint8ArrayReader, ZipReader } from "@zip.js/zip.js";

function record(size, fields) {
  const bytes = Buffer.alloc(size);
  for (const [at, width, value] of fields) {
    if (width === 8) bytes.writeBigUInt64LE(BigInt(value), at);
    else bytes.writeUIntLE(value, at, width);
  }
  return bytes;
}

/** Two stored entries, a directory, zip64 end record and locator, end record; `first` is the length of the first entry's name. */
function archive(first) {
  const entries = [["a".repeat(first), Buffer.from("one")], ["second", Buffer.from("two")]];
  const parts = [], directory = [];
  let at = 0;
  for (const [name, data] of entries) {
    const shared = [[0, 2, 20], [10, 4, crc32(data)], [14, 4, data.length], [18, 4, data.length], [22, 2, name.length]];
    const move = (by) => shared.map(([field, width, value]) => [field + by, width, value]);
    const local = Buffer.concat([record(30, [[0, 4, 0x04034b50], ...move(4)]), Buffer.from(name), data]);
    directory.push(record(46, [[0, 4, 0x02014b50], [4, 2, 20], ...move(6), [42, 4, at]]), Buffer.from(name));
    parts.push(local);
    at += local.length;
  }
  const size = directory.reduce((sum, { length }) => sum + length, 0);
  const end64 = record(56, [[0, 4, 0x06064b50], [4, 8, 44], [12, 2, 45], [14, 2, 45], [24, 8, 2], [32, 8, 2], [40, 8, size], [48, 8, at]]);
  const locator = record(20, [[0, 4, 0x07064b50], [8, 8, at + size], [16, 4, 1]]);
  const end = record(22, [[0, 4, 0x06054b50], [8, 2, 2], [10, 2, 2], [12, 4, size], [16, 4, at]]);
  return Buffer.concat([...parts, ...directory, end64, locator, end]);
}

for (const length of [29, 30, 31]) {
  const bytes = archive(length);
  fs.writeFileSync(`${length}.zip`, bytes);
  const names = [];
  let outcome = "";
  try {
    for await (const entry of new ZipReader(new Uint8ArrayReader(bytes)).getEntriesGenerator()) names.push(entry.filename.length);
  } catch (error) {
    outcome = `, then: ${error.message}`;
  }
  console.log(`first name of ${length} characters: entries with names of ${names.join(" and ") || "none"}${outcome}`);
}
END
version=$(node -p "require('$folder/node_modules/@zip.js/zip.js/package.json').version")
node look.mjs > seen.txt
python3 - > python.txt <<'END'
import zipfile
for length in (29, 30, 31):
    with zipfile.ZipFile(f"{length}.zip") as archive:
        assert archive.testzip() is None
        print(length, [len(name) for name in archive.namelist()])
END
echo "@zip.js/zip.js $version:"
cat seen.txt
echo "Python's zipfile:"
cat python.txt
cat > expected.txt <<'END'
first name of 29 characters: entries with names of 29 and 6
first name of 30 characters: entries with names of 6, then: Central directory header not found
first name of 31 characters: entries with names of 31 and 6
END
if cmp -s seen.txt expected.txt; then
  echo "as described"
else
  echo "CHANGED: this was expected:"
  cat expected.txt
  exit 1
fi
