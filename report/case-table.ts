/** The table of all cases: a click on a heading sorts, controls above it leave rows out. */
import { element } from '../app/dom.js';
import { labelled } from './page.js';

interface Row {
  readonly line: HTMLTableRowElement;
  /** Texts of all cells, the first included. */
  readonly texts: readonly string[];
}

export function prepareTable(): void {
  const table = document.querySelector<HTMLTableElement>('#case-table');
  if (table === null) return;
  const body = table.tBodies[0]!;
  const rows: Row[] = [...body.rows].map((line) => ({
    line,
    texts: [...line.cells].map((cell) => cell.textContent!.trim()),
  }));
  const headings = [...table.tHead!.rows[0]!.cells];
  const names = headings.map((heading) => heading.textContent!.trim());
  const isText = headings.map((heading, i) => i === 0 || heading.classList.contains('text'));

  let sorted: { readonly column: number; readonly descending: boolean } | undefined;
  const sort = (column: number): void => {
    // A number is looked at from its worst end first: small Dice, then large.
    const descending = sorted?.column === column && !sorted.descending;
    sorted = { column, descending };
    const compare = isText[column] ? byText(column) : byNumber(column, descending);
    const order = [...rows].sort((a, b) => (isText[column] && descending ? compare(b, a) : compare(a, b)));
    body.append(...order.map(({ line }) => line));
    for (const [i, heading] of headings.entries())
      if (i === column) heading.setAttribute('aria-sort', descending ? 'descending' : 'ascending');
      else heading.removeAttribute('aria-sort');
  };
  for (const [column, heading] of headings.entries()) {
    const button = element('button', { type: 'button', className: 'sort' }, names[column]!);
    button.addEventListener('click', () => sort(column));
    heading.replaceChildren(button);
  }

  const words = element('input', { type: 'search', size: 18 });
  const below = element('input', { type: 'number', min: '0', max: '1', step: '0.05' });
  const dice = names.indexOf('Dice');
  const choices = isText.flatMap((text, column) => {
    const values = [...new Set(rows.map(({ texts }) => texts[column]!))];
    if (column === 0 || !text || values.length < 2) return [];
    const select = element(
      'select',
      {},
      new Option('all', ''),
      ...values.map((value) => new Option(value, `=${value}`)),
    );
    return [{ column, select }];
  });
  const count = element('output');
  const filter = (): void => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { line, texts } of rows) {
      const text = texts
        .filter((_, i) => isText[i])
        .join(' ')
        .toLowerCase();
      const hidden =
        !wanted.every((word) => text.includes(word)) ||
        choices.some(({ column, select }) => select.value !== '' && select.value !== `=${texts[column]}`) ||
        (dice >= 0 && below.value !== '' && !(Number(texts[dice]) < Number(below.value)));
      line.hidden = hidden;
      if (!hidden) shown++;
    }
    count.value = `${shown} of ${rows.length} rows`;
  };
  for (const control of [words, below, ...choices.map(({ select }) => select)])
    control.addEventListener('input', filter);
  const tools = element(
    'div',
    { className: 'tools', role: 'search' },
    labelled('Case', words),
    ...choices.map(({ column, select }) => labelled(names[column]!, select)),
    ...(dice < 0 ? [] : [labelled('Dice below', below)]),
    count,
  );
  tools.setAttribute('aria-label', 'Filter the cases');
  table.parentElement!.before(tools);
  filter();
}

function byText(column: number): (a: Row, b: Row) => number {
  const { compare } = new Intl.Collator('en', { numeric: true });
  return (a, b) => compare(a.texts[column]!, b.texts[column]!);
}

/** What has no number comes last, either way. */
function byNumber(column: number, descending: boolean): (a: Row, b: Row) => number {
  return (a, b) => {
    const [one, other] = [a, b].map(({ texts }) => Number(texts[column])) as [number, number];
    if (Number.isNaN(one) || Number.isNaN(other)) return Number(Number.isNaN(one)) - Number(Number.isNaN(other));
    return descending ? other - one : one - other;
  };
}
