// A client of MONAI Label, written from the public description and from how the plugins of 3D Slicer and OHIF send and read: forms
// with a boundary that is no token of HTTP, answers read from the socket by their length, and NRRD cut out of the answer as text.
import { connect } from 'node:net';

export interface RawAnswer {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Buffer;
}

interface Sent {
  readonly method: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer;
  /** Leaves after so many ms, without waiting for the answer. */
  readonly leaveAfterMs?: number;
}

/** One request on a connection of its own, byte by byte. */
export function exchange(origin: string, { method, path, headers = {}, body, leaveAfterMs }: Sent): Promise<RawAnswer> {
  const { hostname, port } = new URL(origin);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname);
    const parts: Buffer[] = [];
    socket.on('error', reject);
    socket.on('data', (part) => parts.push(part));
    socket.on('end', () => {
      const all = Buffer.concat(parts);
      const end = all.indexOf('\r\n\r\n');
      const [first, ...lines] = all.subarray(0, end).toString('latin1').split('\r\n');
      const told = new Map(
        lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 2)]),
      );
      resolve({ status: Number(first!.split(' ')[1]), headers: told, body: all.subarray(end + 4) });
    });
    const length = body === undefined ? {} : { 'content-length': String(body.length) };
    const all = {
      host: `${hostname}:${port}`,
      'accept-encoding': 'identity',
      connection: 'close',
      ...length,
      ...headers,
    };
    socket.write(
      `${method} ${path} HTTP/1.1\r\n${Object.entries(all)
        .map(([key, value]) => `${key}: ${value}\r\n`)
        .join('')}\r\n`,
    );
    if (body !== undefined) socket.write(body);
    if (leaveAfterMs !== undefined) setTimeout(() => socket.destroy(), leaveAfterMs);
    if (leaveAfterMs !== undefined) socket.on('close', () => reject(new Error('left')));
  });
}

/** Of 3D Slicer's plugin; a parser that takes boundaries of browsers alone refuses it. */
const slicerBoundary = '----------lImIt_of_THE_fIle_eW_$';

export interface SentFile {
  readonly field: string;
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** A form as 3D Slicer's plugin writes it: the whole path as the name of a file. */
export function slicerForm(fields: Readonly<Record<string, string>>, files: readonly SentFile[]) {
  const parts: Buffer[] = [];
  const line = (text: string) => parts.push(Buffer.from(`${text}\r\n`));
  for (const [name, value] of Object.entries(fields)) {
    line(`--${slicerBoundary}`);
    line(`Content-Disposition: form-data; name="${name}"`);
    line('');
    line(value);
  }
  for (const { field, name, bytes } of files) {
    line(`--${slicerBoundary}`);
    line(`Content-Disposition: form-data; name="${field}"; filename="/tmp/Slicer-user/${name}"`);
    line('Content-Type: application/octet-stream');
    line('');
    parts.push(Buffer.from(bytes), Buffer.from('\r\n'));
  }
  line(`--${slicerBoundary}--`);
  line('');
  return { headers: { 'content-type': `multipart/form-data; boundary=${slicerBoundary}` }, body: Buffer.concat(parts) };
}

/** A form as Python's `requests` writes it: sessions. */
export function requestsForm(files: readonly SentFile[], fields: Readonly<Record<string, string>> = {}) {
  const boundary = 'd2f8b3f0a1c94e5f9b7a6c5d4e3f2a1b';
  const parts = [
    ...Object.entries(fields).map(([name, value]) =>
      Buffer.from(`--${boundary}\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`),
    ),
    ...files.flatMap(({ field, name, bytes }) => [
      Buffer.from(`--${boundary}\r\nContent-Disposition: form-data; name="${field}"; filename="${name}"\r\n\r\n`),
      Buffer.from(bytes),
      Buffer.from('\r\n'),
    ]),
    Buffer.from(`--${boundary}--\r\n`),
  ];
  return { headers: { 'content-type': `multipart/form-data; boundary=${boundary}` }, body: Buffer.concat(parts) };
}

/** The numbers beside a label map. */
export interface Params {
  readonly label_names?: Record<string, number>;
  readonly centroids?: Record<string, number[]>;
  readonly disagreement?: number;
}

/** What 3D Slicer's plugin finds in an answer: fields, and files by their names. */
export function slicerReads({ headers, body }: RawAnswer) {
  // The plugin reads the socket below Python's handling of chunks.
  if (headers.has('transfer-encoding') || Number(headers.get('content-length')) !== body.length)
    throw new Error('an answer in chunks, or of another length than told');
  const boundary = /boundary=([^;]+)/.exec(headers.get('content-type') ?? '')![1]!;
  const fields = new Map<string, string>();
  const files = new Map<string, Buffer>();
  let at = body.indexOf(`--${boundary}\r\n`);
  while (at >= 0) {
    const head = body.indexOf('\r\n\r\n', at);
    const next = body.indexOf(`\r\n--${boundary}`, head);
    const text = body.subarray(at, head).toString('latin1');
    const content = body.subarray(head + 4, next);
    const file = /filename="([^"]*)"/.exec(text)?.[1];
    if (file === undefined) fields.set(/name="([^"]*)"/.exec(text)![1]!, content.toString('utf8'));
    else files.set(file, content);
    at = body
      .subarray(next + 2, next + 4 + boundary.length + 2)
      .toString('latin1')
      .endsWith('--')
      ? -1
      : next + 2;
  }
  return { params: JSON.parse(fields.get('params') ?? 'null') as Params, files };
}

/** What OHIF's panel makes of an answer: text, cut at lines; voxels of 16 bits. */
export function ohifReads({ headers, body }: RawAnswer) {
  const boundary = /boundary=([^;]+)/i.exec(headers.get('content-type') ?? '')![1]!;
  const parts = new TextDecoder()
    .decode(body)
    .split(`--${boundary}`)
    .filter((part) => part.trim() !== '');
  const json = parts.find((part) => part.includes('Content-Type: application/json'))!;
  const image = parts.find((part) => part.includes('Content-Type: application/octet-stream'))!;
  const params = JSON.parse(json.slice(json.indexOf('{'), json.lastIndexOf('}') + 1)) as {
    centroids: Record<string, [number, number, number, number]>;
  };
  const binary = image.split('\r\n\r\n')[1]!;
  const nrrd = Uint8Array.from(binary.slice(0, binary.lastIndexOf('\r\n')).split(''), (letter) => letter.charCodeAt(0));
  const header = new TextDecoder('latin1').decode(nrrd).split('\n\n')[0]!;
  return { params, header, voxels: new Uint16Array(nrrd.slice(header.length + 2).buffer) };
}
