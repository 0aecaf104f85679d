/** An element of the page by its id. */
export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

export const button = (id: string) => byId<HTMLButtonElement>(id);
export const input = (id: string) => byId<HTMLInputElement>(id);
export const select = (id: string) => byId<HTMLSelectElement>(id);

/** A new element with properties and children; text is never read as HTML. */
export function element<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  properties: Partial<HTMLElementTagNameMap[Name]> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[Name] {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** One line for everybody, read aloud by screen readers. */
export function say(text: string): void {
  byId('status').textContent = text;
  byId('status').title = text;
}

/** An error in words, until it is closed or the next thing is begun. */
export function showError(error: unknown): void {
  byId('error-text').textContent = error instanceof Error ? error.message : String(error);
  byId('error').hidden = false;
}

export function clearError(): void {
  byId('error').hidden = true;
}

/** Runs what a control asks for; what fails is shown in words. */
export function act(work: () => Promise<unknown> | unknown): () => void {
  return () => {
    clearError();
    void Promise.resolve()
      .then(work)
      .catch((error: unknown) => showError(error));
  };
}

export function download(name: string, bytes: Uint8Array): void {
  const url = URL.createObjectURL(new Blob([bytes as Uint8Array<ArrayBuffer>]));
  const link = element('a', { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  // The browser reads the bytes after the click.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** '1 scan', '2 scans', nothing for none. */
export function counted(count: number, name: string): string {
  return count === 0 ? '' : `${count} ${name}${count === 1 ? '' : 's'}`;
}
