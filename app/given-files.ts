import type { GivenFile } from './protocol.js';

/** Files of a drop, those in folders too. Hidden files are left out. */
export async function droppedFiles(transfer: DataTransfer): Promise<GivenFile[]> {
  // Entries must all be taken before the first wait: the list is emptied after the event.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry());
  const found: GivenFile[] = [];
  for (const entry of entries) if (entry !== null) await collect(entry, found);
  return found;
}

async function collect(entry: FileSystemEntry, found: GivenFile[]): Promise<void> {
  if (entry.name.startsWith('.')) return;
  if (entry.isFile) {
    const blob = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
    found.push({ name: entry.fullPath.slice(1), blob });
    return;
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  for (;;) {
    // A reader gives a hundred entries at a time.
    const part = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (part.length === 0) return;
    for (const child of part) await collect(child, found);
  }
}

/** Files of an input, with their paths where a folder was chosen. */
export function chosenFiles(input: HTMLInputElement): GivenFile[] {
  const files = [...(input.files ?? [])].map((blob) => ({ name: blob.webkitRelativePath || blob.name, blob }));
  input.value = '';
  return files.filter(({ name }) => !name.split('/').some((part) => part.startsWith('.')));
}
