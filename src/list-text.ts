/** The first names of a list, and how many more there are: "a, b, c, and 4 more". @param most names that are told one by one */
export function someOf(names: readonly string[], most: number): string {
  const more = names.length > most ? `, and ${names.length - most} more` : '';
  return `${names.slice(0, most).join(', ')}${more}`;
}
