// The convention of `VerbOptions`: every public function that takes longer than a moment is ended by a signal, and shows how far it is.
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import {
  bufferSpecs,
  compareRuns,
  evaluateCase,
  evaluateDataset,
  evaluateMasks,
  evaluateSelected,
  evaluateSelectedMasks,
  exportOnnx,
  fingerprintDatasets,
  importWeights,
  isVersemiError,
  loadCase,
  makePhantomDataset,
  makeTimedPlan,
  networkConfig,
  openDataset,
  openTrainingData,
  parameterSpecs,
  plannedRuns,
  predictVolume,
  predictWindows,
  preprocessCases,
  preprocessDatasets,
  pytorchSafetensors,
  readModel,
  runBench,
  runReport,
  runSelftest,
  selectCases,
  selectDevice,
  selectMasks,
  startServer,
  stateDicts,
  summarizeComparison,
  timeSteps,
  train,
  type VerbOptions,
  VersemiNetwork,
  validate,
  writeComparisonReport,
  writeRunReport,
} from '../../src/index.js';
import { initialValues } from '../../src/model/layers.js';
import { runFolderOf, writeComparison } from '../../src/reports/comparison.js';
import { packageRoot } from '../../src/root.js';
import { publicProgram } from '../packaging/public-program.js';
import { makeRun } from '../report/made-run.js';
import { ask } from '../server/server-support.js';
import { atriumPlan } from './training-support.js';

/** Public functions that give a promise and take no signal, and why. */
const momentary: Readonly<Record<string, readonly string[]>> = {
  'one file, or one case': [
    ...['caseFacts', 'encodeNifti', 'imageInfo', 'loadCase', 'loadCheckpoint', 'loadModel', 'loadScan', 'openCase'],
    ...['openScan', 'openScanBytes', 'readModel', 'readPlan', 'readVolume', 'saveCheckpoint', 'saveLabel', 'saveModel'],
    ...['scanFacts', 'writeEvaluation', 'writeNifti', 'writeNrrd', 'writeOverlay', 'writePlan', 'writeSlices'],
  ],
  'names of files and their headers': ['findScans', 'openDataset', 'plannedRuns'],
  'a device, or the code of a module': ['loadParts', 'registerVersemiBackends', 'selectDevice'],
  'one step of a training': ['runStep'],
};

/** Names of the options of every public function that gives a promise or an iterator of them. */
function promisingFunctions(): Map<string, Set<string>> {
  const { checker, names } = publicProgram();
  const found = new Map<string, Set<string>>();
  for (const { name, symbol } of names) {
    const declaration = symbol.valueDeclaration;
    if (declaration === undefined) continue;
    for (const signature of checker.getTypeOfSymbolAtLocation(symbol, declaration).getCallSignatures()) {
      if (!/^(Promise|Async)/.test(checker.typeToString(signature.getReturnType()))) continue;
      const options = signature.parameters.flatMap((parameter) =>
        checker.getNonNullableType(checker.getTypeOfSymbol(parameter)).getProperties(),
      );
      found.set(name, new Set(options.map((option) => option.name)));
    }
  }
  return found;
}

const promising = promisingFunctions();
const folder = t.testdir();
const at = (name: string) => join(folder, name);
const plan = atriumPlan(at('atrium'), { name: 'verbs' });

type Options = Pick<VerbOptions<unknown>, 'signal' | 'onProgress'>;

/** Each verb on two pieces of work or more. */
async function callsOf(): Promise<Record<string, (options: Options, place: string) => unknown>> {
  const counts = { cases: 4, labeledCases: 2, validationCases: 1, testCases: 0, seed: 3 };
  await makePhantomDataset(at('atrium'), 'mr-atrium', counts);
  const chosen = await selectDevice('wasm', { threads: 1 });
  const sources = [{ path: at('atrium'), split: { labeled: 'labeled' } }];
  const fingerprint = await fingerprintDatasets(sources);
  const data = await preprocessDatasets(plan, { cacheFolder: null });
  const config = networkConfig(plan);
  const model = { plan, network: new VersemiNetwork(config, 1) };
  t.teardown(() => model.network.dispose());
  const dataset = await openDataset(at('atrium'));
  const { image, label } = await loadCase(dataset, dataset.cases[0]!);
  const folders = [{ folder: at('atrium'), dataset: 'atrium' }];
  const [selected] = await selectCases(model, folders);
  mkdirSync(at('masks'));
  for (const { id, label: file } of dataset.cases)
    if (file !== undefined) copyFileSync(file, join(at('masks'), `${id}.nii.gz`));
  const [selectedMasks] = await selectMasks(at('masks'), folders);
  const values = new Map(
    [parameterSpecs, bufferSpecs].flatMap((specs) =>
      specs(config).map((spec, i) => [spec.name, initialValues(spec, 1, i)] as const),
    ),
  );
  const dicts = stateDicts(Buffer.concat(pytorchSafetensors(config, values, 'zyx', {})), 'w');
  const example = await readModel(join(packageRoot, 'test', 'examples', 'real-data.safetensors'));
  for (const name of ['one', 'two']) {
    await makeRun(at(name));
    await makeRun(runFolderOf(at('compared'), { name, seed: 1 }));
  }
  await writeComparison(
    at('compared'),
    ['one', 'two'].map((name) => ({ name, seed: 1 })),
  );
  const summary = summarizeComparison(at('compared'));
  const runs = await plannedRuns(new Map([['plan', plan]]), [1, 2]);
  const here = { device: 'wasm', threads: 1, cacheFolder: null } as const;
  mkdirSync(at('page'));
  writeFileSync(at('page/index.html'), '<!doctype html>');
  return {
    makePhantomDataset: (o, place) => makePhantomDataset(at(`phantom-${place}`), 'mr-atrium', { ...counts, ...o }),
    fingerprintDatasets: (o) => fingerprintDatasets(sources, o),
    makeTimedPlan: (o) => makeTimedPlan(fingerprint, { baseWidth: 4, patchSizeVoxels: [16, 16, 8], ...o }),
    preprocessCases: (o) => preprocessCases(plan, { cacheFolder: null, ...o }),
    preprocessDatasets: (o) => preprocessDatasets(plan, { cacheFolder: null, ...o }),
    openTrainingData: (o) => openTrainingData(plan, { cacheFolder: null, ...o }),
    timeSteps: (o) => timeSteps(plan, data, o),
    train: (o, place) => train(plan, { ...here, data: { ...data, sources: [] }, runFolder: at(`run-${place}`), ...o }),
    compareRuns: (o, place) =>
      compareRuns(at(`compared-${place}`), runs, { ...here, facts: { device: 'a device' }, ...o }),
    selectCases: (o) => selectCases(model, folders, undefined, ['all'], o),
    evaluateDataset: (o) => evaluateDataset(model, at('atrium'), { dataset: 'atrium', ...o }),
    evaluateSelected: (o) => evaluateSelected(model, selected!, o),
    selectMasks: (o) => selectMasks(at('masks'), folders, o),
    evaluateMasks: (o) => evaluateMasks(at('atrium'), at('masks'), { dataset: 'atrium', ...o }),
    evaluateSelectedMasks: (o) => evaluateSelectedMasks(selectedMasks!, o),
    evaluateCase: (o) => evaluateCase(model, { id: 'a', image, label: label! }, 'atrium', [0], o),
    predictVolume: (o) => predictVolume(model, image, o),
    predictWindows: (o) => predictWindows(model, image, o),
    validate: (o) => validate(model, [...data.labeled, ...data.validation], o),
    runSelftest: (o) => runSelftest(chosen, o),
    runBench: (o) =>
      runBench({
        ...{ device: 'wasm', threads: 1, runs: 1, patch: 16, peers: at('none'), data: at('none') },
        ...{ only: ['conv3d-norm-relu-16-96', 'metrics-256'], ...o },
      }),
    runReport: (o) => runReport(at('one'), { compare: [at('two')], ...o }),
    writeRunReport: (o, place) => writeRunReport(at('one'), at(`report-${place}.html`), o),
    writeComparisonReport: (o, place) =>
      writeComparisonReport(at('compared'), summary, at(`comparison-${place}.html`), o),
    exportOnnx: (o, place) => exportOnnx(example, at(`onnx-${place}/model.onnx`), o),
    importWeights: (o) => importWeights(dicts, config, { file: 'w', axes: 'zyx', trunkOnly: false, seed: 1, ...o }),
    startServer: (o) => startServer({ port: 0, pageFolder: at('page'), ...o }),
  };
}

/** Runs a verb to its end. @returns the last thing that it told of, or the code of its error */
async function outcome(work: unknown): Promise<unknown> {
  try {
    if (work instanceof Promise) return await work;
    let last: unknown;
    for await (const item of work as AsyncIterable<unknown>) last = item;
    return last;
  } catch (error) {
    if (!isVersemiError(error)) throw error;
    return error.code;
  }
}

t.test('every public function that takes longer than a moment takes a signal, and tells of its progress', async (t) => {
  const left = Object.values(momentary).flat();
  t.ok(promising.size > 45, `${promising.size} functions`);
  for (const [name, options] of promising)
    t.equal(options.has('signal') && options.has('onProgress'), !left.includes(name), name);
  for (const name of left) t.ok(promising.has(name), `${name} is there`);
});

t.test('signal and progress of every verb', async (t) => {
  const calls = await callsOf();
  const verbs = [...promising.keys()].filter((name) => !Object.values(momentary).flat().includes(name));
  t.same(Object.keys(calls).sort(), verbs.sort(), 'every verb is called here');
  const documented = readFileSync(join(packageRoot, 'docs', 'javascript.md'), 'utf8');
  for (const name of verbs) t.match(documented, `\`${name}\``, `docs/javascript.md has ${name}`);
  for (const [name, call] of Object.entries(calls)) {
    const before = await outcome(call({ signal: AbortSignal.abort() }, 'before'));
    if (name === 'train') t.match(before, { type: 'end', reason: 'aborted' }, 'a training ends with an event');
    else if (name === 'compareRuns') t.equal(before, undefined, 'a comparison ends without a run');
    else t.equal(before, 'VERSEMI_ABORTED', `${name}, aborted before it began`);
    if (name === 'startServer') continue;

    const abort = new AbortController();
    let told = 0;
    const onProgress = () => {
      told++;
      abort.abort();
    };
    const amid = await outcome(call({ signal: abort.signal, onProgress }, 'amid'));
    t.ok(told > 0, `${name} tells of its progress`);
    if (name === 'train') t.match(amid, { type: 'end', reason: 'aborted' });
    else if (name === 'exportOnnx')
      t.match(amid, { files: { length: 5 } }, 'what has begun to be written is written whole');
    else t.equal(amid, 'VERSEMI_ABORTED', `${name}, aborted amid its work`);
  }
});

t.test('a server: requests are its progress, who reaches it is its notice, and a signal closes it', async (t) => {
  const abort = new AbortController();
  const told: unknown[] = [];
  const notices: string[] = [];
  const server = await startServer({
    ...{ port: 0, host: '0.0.0.0', pageFolder: at('page'), signal: abort.signal },
    onProgress: (request) => told.push(request),
    onNotice: (text) => notices.push(text),
  });
  t.match(notices, [/^Warning: 0\.0\.0\.0 can be reached by other machines/]);
  t.equal((await ask(server, '/api/info?token=secret')).status, 403);
  t.match(told, [{ method: 'GET', path: '/api/info', status: 403 }]);
  abort.abort();
  await server.close();
  await t.rejects(ask(server, '/'), { code: 'ECONNREFUSED' });
  await server.close();
});
