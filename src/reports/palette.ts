/**
 * Colours of masks and of lines, told apart by colour-blind readers too: Okabe & Ito's, with brown and violet in place of yellow and black,
 * which light or dark pages would not show.
 */
export const palette = [
  '#0072b2',
  '#d55e00',
  '#009e73',
  '#cc79a7',
  '#e69f00',
  '#56b4e9',
  '#8c6d31',
  '#a830f0',
] as const;
