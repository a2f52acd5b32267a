/**
 * What the routes ask of the jobs' side: the one door between HTTP and everything behind it. Routes neither touch the store's rows nor the workers.
 */
import type { CountedEvent, EventName, Job, JobStatus } from "./job.ts";
import type { ImageFormatName } from "./messages.ts";
import type { InputName, JobKind } from "./work.ts";
import type { LookName } from "../../splice/instruments/look_options.ts";

/** A request to train, its pictures already on the disk (in a folder that `openUpload` gave). */
export interface CreateRequest {
  readonly upload: Upload;
  readonly kind: JobKind;
  /** Option fields as they came: text. */
  readonly fields: Readonly<Record<string, unknown>>;
  readonly webhookUrl: string | null;
  /** The client's Idempotency-Key, prefixed with whose it is. */
  readonly idempotencyKey: string | null;
}

/** A place for uploaded files, outside of any job until a job takes them over. */
export interface Upload {
  readonly folder: string;
  /** Writes one uploaded file; its name is `field`. */
  write(field: string, bytes: Uint8Array): Promise<void>;
  /** Removes what no job took over. */
  discard(): Promise<void>;
}

/** What a job leaves behind, by its name to the outside. */
export type FileName = "result" | "trained" | "preview" | "generator";

/** The files themselves: what each is called in the job's folder, and of which type it is. */
export const FILES: Readonly<Record<FileName, { readonly file: string; readonly type: string }>> = {
  result: { file: "result.png", type: "image/png" },
  trained: { file: "trained.png", type: "image/png" },
  preview: { file: "preview.jpg", type: "image/jpeg" },
  generator: { file: "generator.safetensors", type: "application/octet-stream" },
};

export interface FileFacts {
  readonly bytes: number;
  /** The same for the same bytes alone, in visible ASCII without quotes: for "still the same?". */
  readonly tag: string;
  readonly modified: Date | null;
}

/** A file to answer with, as it was found. */
export interface Served extends FileFacts {
  readonly type: string;
  /** As it is now, for it may be another by now. Whoever asks reads the stream or cancels it. @throws Fault not_found */
  open(): Promise<FileFacts & { readonly stream: ReadableStream<Uint8Array> }>;
}

/** A photograph as it was sent. */
export interface ServedPicture extends Served {
  /** Whether every program shows it the right way up: it has no EXIF orientation, or one that changes nothing. */
  upright(): Promise<boolean>;
}

export interface ModelReport {
  readonly name: string;
  readonly present: boolean;
  readonly default: boolean;
  readonly about: string | null;
  readonly licence: string | null;
  readonly megabytes: number | null;
}

export interface Health {
  /** GPU workers that have opened their device. */
  readonly ready: number;
  readonly workers: number;
  readonly adapter: string | null;
}

/** An event as it is sent; `id` is null for previews, which no replay counts. */
export interface FeedEvent {
  readonly id: number | null;
  readonly name: EventName;
  readonly data: string;
}

export interface Feed<E = FeedEvent> {
  /**
   * The next events in order, at least one; an empty list when `patience` ms pass without any (time for a heartbeat), null after the last event or when the
   * server stops.
   */
  next(patience: number): Promise<readonly E[] | null>;
  /** The server is stopping, the job has not ended: the reader should come back. */
  interrupted(): boolean;
  /** Nothing after the asked-for id will ever come. */
  exhausted(): boolean;
  close(): void;
}

/** Every method that meets bad input or a missing job throws a Fault. */
export interface JobService {
  openUpload(): Promise<Upload>;
  create(request: CreateRequest): Promise<{ job: Job; replayed: boolean }>;
  get(id: string): Promise<Job>;
  list(options: { limit: number; before?: string | undefined; status?: JobStatus | undefined }): Promise<{
    jobs: Job[];
    /** Pass as `before` for the next page; null on the last. */
    next: string | null;
  }>;
  /** Cancels an active job, removes an ended one. `was`: a running one's worker stops within a step. */
  remove(id: string): Promise<{ did: "canceled"; was: "queued" | "running"; job: Job } | { did: "removed" }>;
  /** The job's events after `after`. */
  feed(id: string, after: number): Promise<Feed>;
  /** Resolves when the job has ended, or rejects with Fault unavailable when the server stops. */
  finished(id: string): Promise<Job>;
  result(id: string, format: ImageFormatName): Promise<Served>;
  /** The picture as large as it was trained: the result itself, where nothing enlarged it. */
  trained(id: string, format: ImageFormatName): Promise<Served>;
  preview(id: string): Promise<Served>;
  generator(id: string): Promise<Served>;
  /** A photograph of the job as it was sent; and in another format, as it was understood. */
  input(id: string, name: InputName): Promise<ServedPicture>;
  inputAs(id: string, name: InputName, format: ImageFormatName): Promise<Served>;
  /** The upload's file `image` as it is read: upright, in sRGB, on white; the answer lies in the upload's folder. */
  show(upload: Upload, format: ImageFormatName): Promise<Served>;
  /** Renders the upload's file `image` with the generator of a job; the answer lies in the upload's folder. Fields: as `parseApply` takes them. */
  apply(id: string, upload: Upload, options: {
    readonly fields: Readonly<Record<string, unknown>>;
    readonly format: ImageFormatName;
  }): Promise<Served>;
  /** Features of the upload's file `image`, safetensors in the upload's folder. Fields: model, layers, vit_side, vit_longest, resize. */
  features(upload: Upload, fields: Readonly<Record<string, unknown>>): Promise<Served>;
  /** A picture of what the extractor sees in the upload's file `image`, in the upload's folder. Fields: as `parseLook` takes them. */
  look(look: LookName, upload: Upload, options: {
    readonly fields: Readonly<Record<string, unknown>>;
    readonly format: ImageFormatName;
  }): Promise<Served>;
  models(): Promise<ModelReport[]>;
  health(): Health;
  gauges(): { queued: number; running: number; plannedBytes: number; plannedByJob: number };
  /** For metrics. Returns what ends it. */
  onCount(listener: (event: CountedEvent) => void): () => void;
}
