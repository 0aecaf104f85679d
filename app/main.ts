import { rgbOf } from '../src/inference/task-identity.js';
import { Cases } from './cases.js';
import { WorkerClient, WorkerError } from './client.js';
import { act, button, byId, clearError, counted, download, element, input, say, select, showError } from './dom.js';
import { chosenFiles, droppedFiles } from './given-files.js';
import { wireKeys } from './keys.js';
import { Models } from './models.js';
import type { GivenFile, OpenedScan, ScanEntry } from './protocol.js';
import { type SaveFormat, saveFormats } from './protocol.js';
import { serverInfo } from './server.js';
import { Structures } from './structures.js';
import { Viewer } from './viewer.js';

const client = new WorkerClient();
const viewer = new Viewer(byId<HTMLCanvasElement>('canvas'));
const structures = new Structures(client, viewer);
const models = new Models(client, take);
const cases = new Cases(take);
const scans: ScanEntry[] = [];
let scan: OpenedScan | undefined;
let scanId: number | undefined;
let predicting = false;

/** Grey values from black to white, in Hounsfield units. */
const windows: Readonly<Record<string, readonly [number, number]>> = {
  'soft-tissue': [-160, 240],
  lung: [-1350, 150],
  bone: [-450, 1050],
};

const formatNames: Readonly<Record<SaveFormat, string>> = {
  nifti: 'NIfTI, one per structure',
  labels: 'NIfTI label map',
  nrrd: 'NRRD, one per structure',
  seg: 'DICOM SEG',
  rtstruct: 'DICOM RTSTRUCT',
};

async function take(files: readonly GivenFile[]): Promise<void> {
  if (files.length === 0) return;
  say(`Reading ${files.length} ${files.length === 1 ? 'file' : 'files'}…`);
  const found = await client.call('take', files).catch((error: unknown) => {
    say('The files were not taken.');
    throw error;
  });
  scans.push(...found.scans);
  if (found.scans.length > 0) listScans();
  await models.add(found.models);
  const what = [counted(found.scans.length, 'scan'), counted(found.models.length, 'model')].filter(
    (text) => text !== '',
  );
  say([what.length === 0 ? 'Nothing to open.' : `Found ${what.join(' and ')}.`, ...found.notices].join(' '));
  if (what.length === 0 && found.notices.length > 0) showError(new Error(found.notices.join(' ')));
  if (found.scans.length === 1) await openScan(found.scans[0]!);
}

function listScans(): void {
  byId('scans').replaceChildren(
    ...scans.map((entry) => {
      const item = element(
        'button',
        { type: 'button', title: entry.name },
        element('span', {}, entry.name),
        element('small', {}, entry.facts),
      );
      item.onclick = act(() => openScan(entry));
      item.setAttribute('aria-current', String(entry.id === scanId));
      return element('li', {}, item);
    }),
  );
}

async function openScan(entry: ScanEntry): Promise<void> {
  if (predicting) throw new Error('A prediction is running. Cancel it before you open another scan.');
  say(`Opening ${entry.name}…`);
  cases.open = undefined;
  structures.clear(undefined);
  viewer.clear();
  scan = undefined;
  scanId = undefined;
  controls();
  try {
    const { opened, nifti } = await client.call('open', entry.id);
    select('window').value = opened.isCt ? 'soft-tissue' : 'automatic';
    await viewer.show(opened, nifti, windowOf(opened));
    scan = opened;
    scanId = entry.id;
    structures.clear(opened);
    resetReference();
    const spacing = opened.spacingMm.map((mm) => mm.toFixed(2)).join(' × ');
    say([`${entry.name}: ${opened.sizeVoxels.join(' × ')} voxels of ${spacing} mm.`, ...opened.notices].join(' '));
  } catch (error) {
    say(`${entry.name} was not opened.`);
    throw error;
  } finally {
    listScans();
    controls();
  }
  await models.judge();
}

function windowOf({ automaticWindow }: OpenedScan): readonly [number, number] {
  return windows[select('window').value] ?? automaticWindow;
}

function chooseWindow(): void {
  viewer.setWindow(...windowOf(scan!));
}

function wanted() {
  const { chosen, tasks } = models;
  if (chosen === undefined || scan === undefined || tasks.length === 0) return undefined;
  const maxMemoryBytes = Number(select('memory').value) * 1e9;
  return { model: chosen.id, tasks, maxMemoryBytes, disagreement: cases.open !== undefined };
}

async function estimate(): Promise<void> {
  controls();
  const what = wanted();
  if (what === undefined || predicting) {
    if (!predicting) byId('estimate').textContent = 'Choose a scan, a model and structures.';
    return;
  }
  try {
    byId('estimate').textContent = `Memory: about ${(await client.call('estimate', what)).text}.`;
  } catch (error) {
    const tooMuch = error instanceof WorkerError && error.code === 'VERSEMI_MEMORY_LIMIT';
    byId('estimate').textContent = tooMuch ? 'Too large for this memory limit.' : 'This cannot be predicted.';
    button('predict').disabled = true;
    throw error;
  }
}

async function predict(): Promise<void> {
  const what = wanted();
  if (what === undefined) return;
  predicting = true;
  structures.clear(scan);
  structures.coloursOf(models.chosen!);
  controls();
  const began = performance.now();
  let preview: Promise<void> | undefined;
  let nextPreviewAt = 0;
  try {
    const { predictions, threads, disagreement } = await client.call('predict', what, {
      onProgress: ({ window, windows, pass, passes, preview: found }) => {
        input('progress').value = String((pass + window / windows) / passes);
        say(`Window ${window} of ${windows}${passes === 1 ? '' : `, pass ${pass + 1} of ${passes}`}…`);
        // A picture that is late is left out. Without a graphics card, pictures take the time of the prediction: a fifth of it, no more.
        const now = performance.now();
        if (found === undefined || preview !== undefined || now < nextPreviewAt) return;
        preview = structures.preview(found).finally(() => {
          preview = undefined;
          nextPreviewAt = performance.now() + 4 * (performance.now() - now);
        });
      },
    });
    await preview;
    await structures.results(predictions);
    const seconds = (performance.now() - began) / 1000;
    await cases.note(disagreement);
    say(`Predicted in ${seconds.toFixed(1)} s with ${threads} ${threads === 1 ? 'thread' : 'threads'}.`);
  } catch (error) {
    await preview;
    structures.clear(scan);
    if (!(error instanceof WorkerError && error.code === 'VERSEMI_ABORTED')) {
      say('The prediction failed.');
      throw error;
    }
    say('The prediction was cancelled. Nothing was kept.');
  } finally {
    predicting = false;
    byId<HTMLProgressElement>('progress').value = 0;
    controls();
  }
}

/** What can be done now is enabled, and nothing else. */
function controls(): void {
  const found = structures.tasks.length > 0;
  byId('hint').hidden = scan !== undefined;
  button('predict').disabled = predicting || wanted() === undefined;
  button('cancel').disabled = !predicting;
  select('window').disabled = scan === undefined;
  button('choose-reference').disabled = scan === undefined;
  button('save').disabled = !found || predicting;
  select('format').disabled = !found;
  for (const option of select('format').options)
    option.disabled = (option.value === 'seg' || option.value === 'rtstruct') && scan?.isDicom !== true;
  if (select('format').selectedOptions[0]?.disabled === true) select('format').value = 'nifti';
  byId('label-row').hidden = cases.open === undefined;
  button('save-label').disabled = !found || predicting;
}

function resetReference(): void {
  select('label').replaceChildren();
  select('label').disabled = true;
  byId('metrics').replaceChildren();
}

async function takeReference(given: readonly GivenFile[]): Promise<void> {
  if (given.length === 0) return;
  if (scan === undefined) throw new Error('Open a scan before its reference mask.');
  say('Reading the reference…');
  byId('metrics').ariaBusy = 'true';
  const { name, labels } = await client.call('reference', given).catch((error: unknown) => {
    say('The reference was not taken.');
    byId('metrics').ariaBusy = 'false';
    throw error;
  });
  select('label').replaceChildren(
    element('option', { value: 'all' }, 'all'),
    ...labels.map((label, place) => element('option', { value: String(place) }, label)),
  );
  select('label').disabled = false;
  say(`${name} is the reference.`);
  await compare();
}

/** Dice and distances of the chosen structure against the reference. */
async function compare(): Promise<void> {
  const mask = structures.editor.masks.get(structures.chosen);
  if (select('label').disabled || mask === undefined) {
    byId('metrics').ariaBusy = 'false';
    return byId('metrics').replaceChildren();
  }
  byId('metrics').ariaBusy = 'true';
  try {
    await showMetrics(mask);
  } finally {
    byId('metrics').ariaBusy = 'false';
  }
}

async function showMetrics(mask: Uint8Array): Promise<void> {
  const { value } = select('label');
  const metrics = await client.call('compare', { mask, label: value === 'all' ? 'all' : Number(value) });
  const rows: readonly (readonly [string, string])[] = [
    ['Dice', metrics.dice.toFixed(3)],
    ['95 % Hausdorff distance', metrics.hd95MaxMm === null ? 'undefined' : `${metrics.hd95MaxMm.toFixed(2)} mm`],
    [`Surface Dice at ${metrics.surfaceDiceToleranceMm} mm`, metrics.surfaceDice.toFixed(3)],
    ['Volume of the reference', `${metrics.volumeReferenceMl.toFixed(2)} ml`],
  ];
  byId('metrics').replaceChildren(
    ...rows.flatMap(([name, value]) => [element('dt', {}, name), element('dd', {}, value)]),
  );
}

function masksToSave() {
  return structures.tasks.map((task) => {
    const { colour } = structures.looks.get(task)!;
    return { task, colour: rgbOf(colour), data: structures.editor.masks.get(task)! };
  });
}

async function save(): Promise<void> {
  say('Writing…');
  const format = select('format').value as SaveFormat;
  const { files, notices } = await client.call('save', {
    ...{ format, masks: masksToSave() },
    deidentify: input('deidentify').checked,
  });
  for (const { name, bytes } of files) download(name, bytes);
  say([`Saved ${files.map(({ name }) => name).join(', ')}.`, ...notices].join(' '));
}

async function openCase(open: () => Promise<void>): Promise<void> {
  await open();
  // The synthetic task is predicted with those of a case.
  await estimate();
}

async function connect(): Promise<void> {
  const info = await serverInfo();
  if (info === undefined) return;
  await models.offer();
  if (info.dataset !== null) await cases.connect(info.dataset);
}

function wire(): void {
  button('choose-files').onclick = () => input('files').click();
  button('choose-folder').onclick = () => input('folder').click();
  button('choose-reference').onclick = () => input('reference').click();
  input('files').onchange = act(() => take(chosenFiles(input('files'))));
  input('folder').onchange = act(() => take(chosenFiles(input('folder'))));
  input('reference').onchange = act(() => takeReference(chosenFiles(input('reference'))));
  models.onChange = estimate;
  select('cases').onchange = act(() => openCase(() => cases.openChosen()));
  button('next-case').onclick = act(() => openCase(() => cases.openNext()));
  select('memory').onchange = act(estimate);
  select('window').onchange = act(chooseWindow);
  input('radiological').onchange = () => viewer.setRadiological(input('radiological').checked);
  button('predict').onclick = act(predict);
  button('cancel').onclick = act(() => client.call('cancel', null));
  select('label').onchange = act(compare);
  button('save').onclick = act(save);
  button('save-label').onclick = act(() => cases.save(masksToSave(), (masks) => client.call('labelMap', masks)));
  button('error-close').onclick = clearError;
  button('help-button').onclick = () => byId<HTMLDialogElement>('help').showModal();
  button('help-close').onclick = () => byId<HTMLDialogElement>('help').close();
  select('format').replaceChildren(
    ...saveFormats.map((format) => element('option', { value: format }, formatNames[format])),
  );
  structures.onChange = act(() => {
    controls();
    return compare();
  });
  viewer.onPlace = ([x, y, z], value) => {
    byId('place').textContent = `voxel ${x}, ${y}, ${z} · value ${Number(value.toPrecision(6))}`;
  };
  wireKeys(viewer, structures);
  wireDrop();
}

function wireDrop(): void {
  // Before the viewer sees these events, which would keep them to itself over its canvas.
  const first = { capture: true };
  const mine = (event: DragEvent) => {
    event.preventDefault();
    event.stopPropagation();
  };
  addEventListener('dragenter', mine, first);
  addEventListener(
    'dragover',
    (event) => {
      mine(event);
      byId('drop').hidden = false;
    },
    first,
  );
  addEventListener('dragleave', (event) => {
    if (event.relatedTarget === null) byId('drop').hidden = true;
  });
  addEventListener(
    'drop',
    (event) => {
      mine(event);
      byId('drop').hidden = true;
      const onReference = (event.target as Element).closest('[aria-labelledby="reference-title"]') !== null;
      const given = droppedFiles(event.dataTransfer!);
      act(async () => (onReference ? takeReference(await given) : take(await given)))();
    },
    first,
  );
}

wire();
act(async () => {
  await viewer.start();
  document.body.dataset.ready = 'true';
  await connect();
})();
