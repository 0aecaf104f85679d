import { act, byId } from './dom.js';
import type { Structures } from './structures.js';
import type { Viewer } from './viewer.js';

/** Listens to the keyboard, for all keys that the dialogue of the page lists. */
export function wireKeys(viewer: Viewer, structures: Structures): void {
  addEventListener('keydown', (event) => onKey(event, viewer, structures));
}

function onKey(event: KeyboardEvent, viewer: Viewer, structures: Structures): void {
  const typing = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
  if (byId<HTMLDialogElement>('help').open) return;
  const command = event.ctrlKey || event.metaKey;
  const key = event.key.toLowerCase();
  if (command && key === 'z') act(() => (event.shiftKey ? structures.redo() : structures.undo()))();
  else if (command && key === 'y') act(() => structures.redo())();
  else if (command || event.altKey || typing) return;
  else if (event.key === '?') byId<HTMLDialogElement>('help').showModal();
  else if (event.target instanceof HTMLButtonElement && (event.key === ' ' || event.key === 'Enter')) return;
  else if (!onPlainKey(event.key, viewer, structures)) return;
  event.preventDefault();
}

/** @returns whether the key means something */
function onPlainKey(key: string, viewer: Viewer, structures: Structures): boolean {
  const keys: Readonly<Record<string, () => unknown>> = {
    ArrowUp: () => viewer.move(0, 0, 1),
    ArrowDown: () => viewer.move(0, 0, -1),
    ArrowLeft: () => viewer.moveOnScreen(-1),
    ArrowRight: () => viewer.moveOnScreen(1),
    PageUp: () => viewer.move(0, 1, 0),
    PageDown: () => viewer.move(0, -1, 0),
    ' ': () => structures.toggleHidden(),
    b: () => structures.use('brush'),
    e: () => structures.use('eraser'),
    l: () => structures.use('off'),
    '[': () => structures.resize(-2),
    ']': () => structures.resize(2),
    Enter: () => structures.paintHere(),
  };
  const action = keys[key.length === 1 ? key.toLowerCase() : key];
  if (action === undefined) return false;
  act(action)();
  return true;
}
