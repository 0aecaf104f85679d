// The public doors of the package as TypeScript sees them.
import { join } from 'node:path';
import ts from 'typescript';
import { packageRoot } from '../../src/root.js';

/** A name that a door exports and versemi declares. */
export interface PublicName {
  readonly name: string;
  /** What an alias stands for. */
  readonly symbol: ts.Symbol;
}

/** Reads the doors and what they import. */
export function publicProgram(): { readonly checker: ts.TypeChecker; readonly names: readonly PublicName[] } {
  const doors = ['index.ts', 'browser.ts', 'tfjs/index.ts'].map((door) => join(packageRoot, 'src', door));
  const config = ts.getParsedCommandLineOfConfigFile(join(packageRoot, 'tsconfig.json'), {}, {
    ...ts.sys,
    onUnRecoverableConfigFileDiagnostic: () => {},
  } as ts.ParseConfigFileHost)!;
  const program = ts.createProgram(doors, config.options);
  const checker = program.getTypeChecker();
  const names: PublicName[] = [];
  for (const door of doors)
    for (const exported of checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(door)!)!)) {
      const symbol = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported;
      const file = symbol.declarations?.[0]?.getSourceFile().fileName ?? '';
      if (file.startsWith(join(packageRoot, 'src'))) names.push({ name: exported.name, symbol });
    }
  return { checker, names };
}
