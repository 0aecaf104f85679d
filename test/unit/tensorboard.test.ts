import { readFileSync } from 'node:fs';
import t from 'tap';
import { crc32, crc32c } from '../../src/crc.js';
import { encodeRecord, encodeScalars, maskedCrc32c, TensorBoardWriter } from '../../src/training/tensorboard.js';

const ascii = (text: string) => new TextEncoder().encode(text);
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

t.test('CRC-32 and CRC-32C give the check values of RFC 3720 B.4 and of the CRC catalogue', async (t) => {
  t.equal(crc32(ascii('123456789')), 0xcbf43926);
  t.equal(crc32(new Uint8Array(0)), 0);
  t.equal(crc32c(ascii('123456789')), 0xe3069283);
  t.equal(crc32c(new Uint8Array(32)), 0x8a9136aa);
  t.equal(crc32c(new Uint8Array(32).fill(0xff)), 0x62a8ab43);
  t.equal(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i)), 0x46dd794e);
});

t.test('a record is framed as TensorFlow frames it', async (t) => {
  const data = ascii('brain.Event:2');
  const record = encodeRecord(data);
  t.equal(hex(record.subarray(0, 8)), '0d00000000000000');
  const view = new DataView(record.buffer);
  t.equal(view.getUint32(8, true), maskedCrc32c(record.subarray(0, 8)));
  t.equal(view.getUint32(12 + data.length, true), maskedCrc32c(data));
  t.equal(record.length, 16 + data.length);
  // TensorFlow's first event has 24 bytes, so that every event file of it begins with these twelve
  t.equal(hex(encodeRecord(new Uint8Array(24)).subarray(0, 12)), '1800000000000000a37f4b22');
});

t.test('scalars are encoded as protocol buffers', async (t) => {
  const bytes = encodeScalars(1.5, 300, { 'loss/a': 0.25 });
  t.equal(
    hex(bytes),
    [
      '09000000000000f83f', // wall_time = 1.5
      '10ac02', // step = 300
      '2a0f', // summary, 15 bytes
      '0a0d', // value, 13 bytes
      '0a066c6f73732f61', // tag = "loss/a"
      '150000803e', // simple_value = 0.25
    ].join(''),
  );
});

/** Minimal reader, written apart from the writer: checks every checksum and decodes the fields that are used. */
function parse(file: string) {
  const bytes = new Uint8Array(readFileSync(file));
  const view = new DataView(bytes.buffer);
  const events: { step: number; version?: string; start: boolean; scalars: Record<string, number> }[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = Number(view.getBigUint64(at, true));
    const data = bytes.subarray(at + 12, at + 12 + length);
    if (view.getUint32(at + 8, true) !== maskedCrc32c(bytes.subarray(at, at + 8))) throw new Error('length checksum');
    if (view.getUint32(at + 12 + length, true) !== maskedCrc32c(data)) throw new Error('data checksum');
    const parsed: (typeof events)[number] = { step: 0, start: false, scalars: {} };
    for (const [field, value] of fields(data)) {
      if (field === 2) parsed.step = value as number;
      if (field === 3) parsed.version = new TextDecoder().decode(value as Uint8Array);
      if (field === 7) parsed.start = fields(value as Uint8Array).some(([f, v]) => f === 1 && v === 1);
      if (field === 5)
        for (const [, item] of fields(value as Uint8Array)) {
          const parts = new Map(fields(item as Uint8Array));
          parsed.scalars[new TextDecoder().decode(parts.get(1) as Uint8Array)] = parts.get(2) as number;
        }
    }
    events.push(parsed);
    at += 16 + length;
  }
  return events;
}

function fields(bytes: Uint8Array): [number, number | Uint8Array][] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const result: [number, number | Uint8Array][] = [];
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at++]!;
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = varint();
    const type = key & 7;
    if (type === 0) result.push([key >> 3, varint()]);
    else if (type === 1) {
      result.push([key >> 3, view.getFloat64(at, true)]);
      at += 8;
    } else if (type === 5) {
      result.push([key >> 3, view.getFloat32(at, true)]);
      at += 4;
    } else {
      const length = varint();
      result.push([key >> 3, bytes.subarray(at, at + length)]);
      at += length;
    }
  }
  return result;
}

t.test('a file is read back; a resumed run announces its first step', async (t) => {
  const folder = t.testdir();
  const writer = new TensorBoardWriter(`${folder}/tensorboard`, 41, () => 1_700_000_000_000);
  writer.scalars(41, { 'loss/total': 1.25, learningRate: 1e-3 });
  writer.scalars(5_000_000_000, { 'dice/höhe': 0.5 });
  writer.close();
  const events = parse(writer.file);
  t.match(writer.file, /events\.out\.tfevents\.1700000000\./);
  t.equal(events[0]!.version, 'brain.Event:2');
  t.same([events[1]!.start, events[1]!.step], [true, 41]);
  t.same(events[2]!.scalars, { 'loss/total': 1.25, learningRate: Math.fround(1e-3) });
  t.equal(events[3]!.step, 5_000_000_000);
  t.same(events[3]!.scalars, { 'dice/höhe': 0.5 });
  t.equal(parse(new TensorBoardWriter(`${folder}/new`, 0).file).length, 1, 'a new run announces nothing');
});

t.test('a folder that cannot be made is a coded error', async (t) => {
  const folder = t.testdir({ file: '' });
  t.throws(() => new TensorBoardWriter(`${folder}/file/tensorboard`, 0), { code: 'VERSEMI_IO_FAILED' });
});
