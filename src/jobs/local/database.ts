/**
 * The file under the store: a SQLite database in WAL mode that is on the disk when a commit returns, its schema, and the way from older schemas to this one.
 * Knows tables, not what a job is. Migrations are only ever added at the end: a published one is never edited.
 */
import { DatabaseSync } from "node:sqlite";

/** Schema number n (SQLite's `user_version`) is what the first n of these make. */
const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'canceled')),
    position INTEGER,
    options TEXT NOT NULL,
    step INTEGER NOT NULL DEFAULT 0,
    steps INTEGER NOT NULL,
    losses TEXT,
    steps_per_second REAL,
    eta_seconds REAL,
    error TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    deaths INTEGER NOT NULL DEFAULT 0,
    preview_step INTEGER,
    webhook_url TEXT,
    idempotency_key TEXT UNIQUE,
    idempotency_digest TEXT,
    bytes INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    started_at TEXT,
    finished_at TEXT,
    first_event INTEGER NOT NULL DEFAULT 1,
    last_event INTEGER NOT NULL DEFAULT 0
  ) STRICT;
  CREATE INDEX jobs_by_status ON jobs (status, number);
  CREATE INDEX jobs_by_end ON jobs (finished_at, number) WHERE finished_at IS NOT NULL;

  CREATE TABLE events (
    job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
    id INTEGER NOT NULL,
    name TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (job, id)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
    url TEXT NOT NULL,
    body TEXT NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    due INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX deliveries_by_job ON deliveries (job, id);
  CREATE INDEX deliveries_by_due ON deliveries (due);
  `,
  `
  ALTER TABLE jobs ADD COLUMN kind TEXT NOT NULL DEFAULT 'splice' CHECK (kind IN ('splice', 'invert'));
  `,
  // Before there was a choice, generators were padded with zeros: jobs that wait or are half done go on so.
  `
  UPDATE jobs SET options = json_insert(options, '$.padding', 'zero') WHERE kind = 'splice';
  `,
  // A place in the queue follows from who else waits.
  `
  ALTER TABLE jobs DROP COLUMN position;
  `,
];

export interface Database {
  readonly sqlite: DatabaseSync;
  /**
   * Runs `work` as one transaction, on the disk when this returns; undone as a whole if it throws. A `light` one survives the end of the process, but not of the
   * machine until a later one that is not: it does not wait for the disk, which can take long while checkpoints are written.
   */
  transaction<T>(work: () => T, options?: { light: boolean }): T;
}

/** Opens or creates the file and brings its schema up to date. @throws Error that says what to do, for a file of a newer version or of another kind */
export function openDatabase(path: string): Database {
  let sqlite: DatabaseSync | null = null;
  try {
    sqlite = new DatabaseSync(path, { timeout: 5000, enableForeignKeyConstraints: true });
    sqlite.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 16777216");
    const database = { sqlite, transaction: transactions(sqlite) };
    migrate(database);
    return database;
  } catch (cause) {
    sqlite?.close();
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`Cannot open the job store ${path}: ${why}`, { cause });
  }
}

function migrate({ sqlite, transaction }: Database): void {
  transaction(() => {
    const { user_version: version } = sqlite.prepare("PRAGMA user_version").get() as { user_version: number };
    if (version > MIGRATIONS.length) {
      throw new Error(
        `it was written by a newer version of splice (schema ${version}, this one knows ${MIGRATIONS.length}); ` +
          "use that version, or give this one another data folder",
      );
    }
    for (const migration of MIGRATIONS.slice(version)) sqlite.exec(migration);
    if (version < MIGRATIONS.length) sqlite.exec(`PRAGMA user_version = ${MIGRATIONS.length}`);
  });
}

function transactions(sqlite: DatabaseSync): Database["transaction"] {
  const begin = sqlite.prepare("BEGIN IMMEDIATE");
  const commit = sqlite.prepare("COMMIT");
  const rollback = sqlite.prepare("ROLLBACK");
  let waits = true;
  return (work, { light } = { light: false }) => {
    if (waits === light) sqlite.exec(`PRAGMA synchronous = ${light ? "NORMAL" : "FULL"}`);
    waits = !light;
    begin.run();
    try {
      const result = work();
      commit.run();
      return result;
    } catch (error) {
      try {
        rollback.run();
      } catch {
        // A full disk makes SQLite roll back by itself, and what went wrong first is what to tell.
      }
      throw error;
    }
  };
}
