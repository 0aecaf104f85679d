/** The server that `versemi serve` is, where the page was opened by it; a static site has none. */
export interface ServerInfo {
  readonly version: string;
  /** Name of the dataset that labels are saved into. */
  readonly dataset: string | null;
}

const token = new URLSearchParams(location.search).get('token') ?? '';

async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  return fetch(path, { ...init, headers: { ...init.headers, 'x-versemi-token': token } });
}

/** An answer that is no success, as the server put it in words. */
async function failure(response: Response): Promise<Error> {
  const text = await response.text();
  let message = text;
  try {
    const json = JSON.parse(text) as { message?: unknown; error?: unknown };
    message = String(json.message ?? json.error ?? text);
  } catch {
    // The answer is no JSON: its text is shown.
  }
  return new Error(`The server refused (${response.status}): ${message.slice(0, 500)}`);
}

/** @returns undefined where the page has no server */
export async function serverInfo(): Promise<ServerInfo | undefined> {
  // Only `versemi serve` gives the page a token: a static site is asked nothing.
  if (token === '') return undefined;
  const response = await ask('api/info').catch(() => undefined);
  return response?.ok ? ((await response.json()) as ServerInfo) : undefined;
}

export async function serverModels(): Promise<readonly { readonly name: string; readonly bytes: number }[]> {
  const response = await ask('api/models');
  if (!response.ok) throw await failure(response);
  return (await response.json()) as { name: string; bytes: number }[];
}

export async function serverModel(name: string): Promise<Blob> {
  const response = await ask(`api/models/${encodeURIComponent(name)}`);
  if (!response.ok) throw await failure(response);
  return response.blob();
}

export interface ServerCase {
  readonly id: string;
  readonly labeled: boolean;
  /** How much the tasks disagreed on it when it was segmented last. */
  readonly disagreement?: number;
}

export interface ServerDataset {
  readonly cases: readonly ServerCase[];
  /** Value -> name of the label, 0 the background. */
  readonly labels: Readonly<Record<string, string>>;
  /** The case to label next; null where all have labels. */
  readonly next: string | null;
}

export async function serverDataset(): Promise<ServerDataset> {
  const response = await ask('api/cases');
  if (!response.ok) throw await failure(response);
  return (await response.json()) as ServerDataset;
}

/** The dataset's label that a structure is: names of tasks are written with hyphens, those of labels in any way. */
export function labelOf(task: string, labels: ServerDataset['labels']): string | undefined {
  const plain = (name: string) =>
    name
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}]+/gu, ' ')
      .trim();
  return Object.entries(labels).find(([value, label]) => value !== '0' && plain(label) === plain(task))?.[1];
}

/** The image of a case, and the name of its file where the server says it. */
export async function serverImage(id: string): Promise<{ readonly name: string; readonly blob: Blob }> {
  const response = await ask(`api/cases/${encodeURIComponent(id)}/image`);
  if (!response.ok) throw await failure(response);
  const disposition = response.headers.get('content-disposition') ?? '';
  return { name: /filename="?([^";]+)/.exec(disposition)?.[1] ?? `${id}.nii.gz`, blob: await response.blob() };
}

/** Tells the server how much the tasks disagree on a case, after which it orders cases for labelling. */
export async function noteDisagreement(id: string, value: number): Promise<void> {
  const response = await ask(`api/cases/${encodeURIComponent(id)}/disagreement?value=${value}`, { method: 'PUT' });
  if (!response.ok) throw await failure(response);
}

/** @param names value in the label map -> name of the structure */
export async function saveLabel(
  id: string,
  bytes: Uint8Array,
  { names, replace }: { readonly names: Readonly<Record<string, string>>; readonly replace: boolean },
): Promise<void> {
  const query = new URLSearchParams({ case: id, names: JSON.stringify(names), ...(replace ? { replace: '1' } : {}) });
  const response = await ask(`api/labels?${query}`, {
    method: 'PUT',
    body: bytes as Uint8Array<ArrayBuffer>,
    headers: { 'content-type': 'application/octet-stream' },
  });
  if (!response.ok) throw await failure(response);
}
