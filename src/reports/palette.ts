/** Okabe & Ito's palette, its black made grey so that dark pages show it: told apart by colour-blind readers too. */
export const palette = [
  '#0072b2',
  '#d55e00',
  '#009e73',
  '#cc79a7',
  '#e69f00',
  '#56b4e9',
  '#8c6d31',
  '#7f7f7f',
] as const;
