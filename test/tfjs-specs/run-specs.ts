/**
 * `node run-specs.js BUNDLE DEVICE`, started by tfjs-specs.test.ts: runs the specs of the bundle on one backend and sends the
 * parent a SpecResult. A process of its own, since the specs reset TF.js's engine and replace global functions.
 */
import { createRequire } from 'node:module';
import { type DeviceChoice, selectDevice } from '../../src/tfjs/index.js';

export interface SpecResult {
  readonly passed: number;
  /** Name and messages of each spec or group of specs that failed. */
  readonly failures: readonly string[];
}

/** What is used of the result of a spec or of a group of specs in jasmine. */
interface Outcome {
  readonly fullName: string;
  readonly status: string;
  readonly failedExpectations: readonly { readonly message: string }[];
}

interface Jasmine {
  getEnv(): {
    configure(options: { readonly random: boolean }): void;
    addReporter(reporter: Record<'specDone' | 'suiteDone' | 'jasmineDone', (outcome: Outcome) => void>): void;
    execute(): Promise<unknown>;
  };
}

/** What tfjs-specs.test.ts lets the bundle export. */
interface SpecBundle {
  setTestEnvs(environments: readonly { name: string; backendName: string; isDataSync: boolean }[]): void;
  declareSpecs(): void;
}

const require = createRequire(import.meta.url);
const [bundle, device] = process.argv.slice(2) as [string, DeviceChoice];

// The specs find `describe` and `expect` as global functions.
const jasmine = (require('jasmine-core') as { boot(): Jasmine }).boot();
const { backend } = await selectDevice(device);
const { setTestEnvs, declareSpecs } = require(bundle) as SpecBundle;
setTestEnvs([{ name: backend, backendName: backend, isDataSync: true }]);
declareSpecs();

let passed = 0;
const failures: string[] = [];
const note = ({ fullName = 'outside of any spec', failedExpectations }: Outcome) => {
  if (failedExpectations.length > 0)
    failures.push(`${fullName}: ${failedExpectations.map(({ message }) => message).join('; ')}`);
};
const environment = jasmine.getEnv();
environment.configure({ random: false });
environment.addReporter({
  specDone(outcome) {
    if (outcome.status === 'passed') passed++;
    note(outcome);
  },
  suiteDone: note,
  jasmineDone: note,
});
await environment.execute();
process.send!({ passed, failures } satisfies SpecResult, () => process.exit());
