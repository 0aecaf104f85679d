/** The script of a report: what is static in the page becomes interactive. */

import { drawCasePlots } from './case-plots.js';
import { prepareTable } from './case-table.js';
import { drawCurves } from './curves.js';
import { data } from './page.js';
import { Viewer } from './viewer.js';

let viewer: Viewer | undefined;
const show = (choice: Parameters<Viewer['show']>[0]): void => {
  viewer ??= new Viewer();
  void viewer.show(choice);
};

document.getElementById('no-script')!.remove();
drawCurves();
if (data.runs.length > 0) drawCasePlots(show);
prepareTable();
document.addEventListener('click', ({ target }) => {
  const button =
    target instanceof Element
      ? (target.closest('.case-picture')?.querySelector('.case') ?? target.closest('.case'))
      : null;
  if (!(button instanceof HTMLElement)) return;
  const { run, dataset, case: id, task } = button.dataset;
  show({ run: Number(run), dataset: dataset!, id: id!, task: task! });
});
document.body.dataset.ready = '';
