// Colours of masks are told apart by every reader, however much of colour they see.
import t from 'tap';
import { rgbOf } from '../../src/inference/task-identity.js';
import { palette } from '../../src/reports/palette.js';

type Row = readonly [number, number, number];
type Matrix = readonly [Row, Row, Row];

/** What is left of linear RGB without one kind of cones (Machado, Oliveira & Fernandes 2009, severity 1). */
const seenBy: Readonly<Record<string, Matrix>> = {
  everyone: [
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
  ],
  protanopes: [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
  ],
  deuteranopes: [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.01182, 0.04294, 0.968881],
  ],
  tritanopes: [
    [1.255528, -0.076749, -0.178779],
    [-0.078411, 0.930809, 0.147602],
    [0.004733, 0.691367, 0.3039],
  ],
};
/** From linear sRGB to XYZ, by the white of daylight. */
const toXyz: Matrix = [
  [0.4124 / 0.95047, 0.3576 / 0.95047, 0.1805 / 0.95047],
  [0.2126, 0.7152, 0.0722],
  [0.0193 / 1.08883, 0.1192 / 1.08883, 0.9505 / 1.08883],
];

const times = (matrix: Matrix, [a, b, c]: Row): Row =>
  matrix.map(([x, y, z]) => x * a + y * b + z * c) as unknown as Row;

/** CIELAB of a colour as a reader sees it. */
function labOf(colour: string, reader: string): Row {
  const linear = rgbOf(colour).map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  }) as unknown as Row;
  const seen = times(seenBy[reader]!, linear).map((value) => Math.max(0, Math.min(1, value))) as unknown as Row;
  const [x, y, z] = times(toXyz, seen).map((value) =>
    value > 0.008856 ? Math.cbrt(value) : 7.787 * value + 16 / 116,
  ) as unknown as Row;
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
}

/** CIE 1976 colour difference; what differs by more than 2 or 3 can be told apart side by side. */
function difference(one: string, other: string, reader: string): number {
  const [a, b] = [labOf(one, reader), labOf(other, reader)];
  return Math.hypot(...a.map((value, i) => value - b[i]!));
}

const greys = Array.from({ length: 256 }, (_, value) => `#${value.toString(16).padStart(2, '0').repeat(3)}`);

for (const reader of Object.keys(seenBy))
  t.test(reader, async (t) => {
    for (const [i, one] of palette.entries()) {
      for (const other of palette.slice(0, i)) {
        const found = difference(one, other, reader);
        t.ok(found > 15, `${one} and ${other} differ by ${found.toFixed(1)}`);
      }
      const fromGrey = Math.min(...greys.map((grey) => difference(one, grey, reader)));
      t.ok(fromGrey > 5, `${one} and any grey of a scan differ by ${fromGrey.toFixed(1)}`);
    }
  });
