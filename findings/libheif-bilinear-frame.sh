#!/bin/sh
# libheif 1.23.5, as compiled into ImageMagick 7.1.2-30 of @imagemagick/magick-wasm 0.0.43: with `heic:chroma-upsampling=bilinear` the colours of an AVIF in 4:2:0
# are right inside (within 3 levels of libavif's own decoder) and wrong in the outermost row and column of pixels, by up to 100 levels and more. One expects the frame to be
# interpolated like the rest, from the samples that there are. Seen on Debian 12 with Node 20, in a picture of two colours that meet in diagonals, 128 x 96.
# Needs Node 20 and npm; installs into a temporary folder. Exit 0: as described; 1: it has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --ignore-scripts @imagemagick/magick-wasm@0.0.43 @jsquash/avif@2.1.1 >&2
cat >see.mjs <<'JS'
import { readFileSync } from "node:fs";
import { initializeImageMagick, Magick, MagickImage, MagickReadSettings } from "@imagemagick/magick-wasm";
import encode, { init as initEncoder } from "@jsquash/avif/encode.js";
import decode, { init as initDecoder } from "@jsquash/avif/decode.js";

globalThis.ImageData ??= class { constructor(data, width, height) { Object.assign(this, { data, width, height }); } };
const wasm = (path) => readFileSync(new URL(`./node_modules/${path}`, import.meta.url));
await initializeImageMagick(wasm("@imagemagick/magick-wasm/dist/x86/magick.wasm"));
await initEncoder(await WebAssembly.compile(wasm("@jsquash/avif/codec/enc/avif_enc.wasm")));
await initDecoder(await WebAssembly.compile(wasm("@jsquash/avif/codec/dec/avif_dec.wasm")));

const [width, height] = [128, 96];
const data = new Uint8ClampedArray(4 * width * height);
for (let i = 0; i < width * height; i++) {
  const first = (i % width + Math.floor(i / width)) % 40 < 20;
  data.set(first ? [220, 30, 40, 255] : [20, 60, 200, 255], 4 * i);
}
const file = new Uint8Array(await encode(new ImageData(data, width, height), { quality: 90, subsample: 1 }));
const wanted = (await decode(file.slice().buffer)).data;

const settings = new MagickReadSettings({ format: "AVIF" });
settings.setDefine("heic:chroma-upsampling", "bilinear");
const image = MagickImage.create();
image.read(file, settings);
const seen = image.getPixels((pixels) => pixels.toByteArray(0, 0, width, height, "RGBA"));
let [inside, frame] = [0, 0];
for (let y = 0; y < height; y++) {
  for (let x = 0; x < width; x++) {
    for (let c = 0; c < 3; c++) {
      const off = Math.abs(seen[4 * (y * width + x) + c] - wanted[4 * (y * width + x) + c]);
      if (x === 0 || y === 0 || x === width - 1 || y === height - 1) frame = Math.max(frame, off);
      else inside = Math.max(inside, off);
    }
  }
}
console.log(`${Magick.imageMagickVersion.slice(0, 21)}: up to ${inside} levels inside, up to ${frame} in the outermost pixels`);
process.exit(inside <= 3 && frame >= 60 ? 0 : 1);
JS
node see.mjs
