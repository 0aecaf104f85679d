// A Slurm of one node, this machine, for the time of a test.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';

/** Why a test cannot run that needs these commands; false where all are there. */
export function missingCommand(...commands: string[]): string | false {
  const missing = commands.find((command) => spawnSync('sh', ['-c', `command -v ${command}`]).status !== 0);
  return missing === undefined ? false : `no ${missing}`;
}

/** Why Slurm cannot be started here. */
export function noSlurm(): string | false {
  const missing = missingCommand('slurmctld', 'slurmd', 'sbatch', 'sinfo');
  return missing !== false ? missing : process.getuid?.() === 0 ? false : 'slurmd needs root';
}

const freePort = () =>
  new Promise<number>((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });

export interface Slurm {
  /** With which its commands find it. */
  readonly env: NodeJS.ProcessEnv;
  stop(): Promise<void>;
}

/**
 * Starts a controller and a node of two CPUs.
 * @returns why it does not start, where it does not
 */
export async function startSlurm(env: NodeJS.ProcessEnv): Promise<Slurm | string> {
  // Its sockets lie there, and the path of a socket has at most 107 bytes.
  const folder = mkdtempSync(join(tmpdir(), 'slurm-'));
  const [conf, node] = [join(folder, 'slurm.conf'), hostname().split('.')[0]!];
  for (const name of ['state', 'spool']) mkdirSync(join(folder, name), { recursive: true });
  writeFileSync(
    conf,
    `ClusterName=test
SlurmctldHost=${node}(127.0.0.1)
SlurmctldPort=${await freePort()}
SlurmdPort=${await freePort()}
AuthType=auth/none
CredType=cred/none
SlurmUser=root
StateSaveLocation=${join(folder, 'state')}
SlurmdSpoolDir=${join(folder, 'spool')}
SlurmctldPidFile=${join(folder, 'slurmctld.pid')}
SlurmdPidFile=${join(folder, 'slurmd.pid')}
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
NodeName=${node} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes=${node} Default=YES State=UP
`,
  );
  const slurm = { ...env, SLURM_CONF: conf };
  const daemons: ChildProcess[] = [];
  const logs: string[] = [];
  const start = (program: string, ...args: string[]) => {
    const child = spawn(program, ['-D', '-f', conf, ...args], { env: slurm, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [child.stdout!, child.stderr!]) stream.on('data', (piece) => logs.push(String(piece)));
    daemons.push(child);
  };
  const stop = async () => {
    for (const daemon of daemons.reverse()) {
      const gone = new Promise((resolve) => daemon.on('close', resolve));
      daemon.kill('SIGTERM');
      await gone;
    }
    rmSync(folder, { recursive: true, force: true });
  };
  start('slurmctld');
  start('slurmd', '-N', node);
  const state = () => spawnSync('sinfo', ['-h', '-o', '%t'], { env: slurm, encoding: 'utf8' }).stdout.trim();
  for (let i = 0; i < 100; i++) {
    if (state() === 'idle') return { env: slurm, stop };
    await setTimeout(200);
  }
  await stop();
  return `Slurm does not start here: ${logs.join('').slice(-500)}`;
}
