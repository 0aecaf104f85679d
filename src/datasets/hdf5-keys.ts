/** Names of arrays in HDF5 files of segmentation research, those first that are taken where several are there. */
const usualNames = {
  image: ['image', 'img', 'data', 'volume', 'scan'],
  label: ['label', 'mask', 'seg', 'labels', 'segmentation', 'gt'],
} as const;

/** What is read of a file: the image or its label map. */
export type Hdf5Role = keyof typeof usualNames;

/** Names of the arrays of a case, where they are not found by themselves. */
export interface Hdf5Keys {
  readonly image: string;
  readonly label: string;
}

/**
 * The array of a role among the names of a file: `image` or `label` where there is one, else the one array that has another
 * usual name.
 * @returns all that could be meant: one name, or none, or several
 */
export function keysOf(names: readonly string[], role: Hdf5Role): string[] {
  const usual: readonly string[] = usualNames[role];
  if (names.includes(role)) return [role];
  return names.filter((name) => usual.includes(name.toLowerCase()));
}
