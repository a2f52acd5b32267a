/**
 * Files that the user names: pictures in, results out. What cannot be written is found out before the work begins, and what is
 * written is written aside and renamed, so that no reader ever sees half a file.
 */
import { basename, dirname, extname, join, resolve } from "node:path";
import { decodeImage, openPictureFile, type PictureFile } from "../../images/decode.ts";
import { encodeImage, type ImageFormat, sizeProblem } from "../../images/encode.ts";
import type { Picture } from "../../images/picture.ts";
import type { Rows } from "../../images/scale.ts";
import { UsageError } from "../terminal/usage.ts";

const FORMATS: Readonly<Record<string, ImageFormat>> = {
  ".png": "png",
  ".jpg": "jpeg",
  ".jpeg": "jpeg",
  ".webp": "webp",
};

/** A complaint about a picture's name, or null. */
export function formatProblem(path: string, flag: string): string | null {
  if (Object.hasOwn(FORMATS, extname(path).toLowerCase())) return null;
  return `Cannot write ${flag} ${path}: pictures are written as .png, .jpg or .webp, by the file's ending`;
}

/** Complaints about results that would overwrite a picture that is read, or each other. Flag -> path, where given. */
export function clashes(
  inputs: Readonly<Record<string, string | undefined>>,
  outputs: Readonly<Record<string, string | undefined>>,
): string[] {
  const taken = new Map<string, string>();
  for (const [flag, path] of Object.entries(inputs)) if (path !== undefined) taken.set(resolve(path), flag);
  return Object.entries(outputs).flatMap(([flag, path]) => {
    if (path === undefined) return [];
    const other = taken.get(resolve(path));
    taken.set(resolve(path), flag);
    return other === undefined ? [] : [`Cannot write ${flag} ${path}: it is also ${other}; name another file`];
  });
}

/** Reads a photograph, scaled down to `longest` on the way where that is given; what had to be assumed of it is said on stderr. @throws Error, ImageError */
export async function readPicture(path: string, longest?: number): Promise<Picture> {
  return await decodeImage(await bytesOf(path), { label: path, longest, remark });
}

/** Opens a photograph that is wanted small now and whole later, as `readPicture` reads one. @throws Error, ImageError */
export async function openPhotograph(path: string, longest: number | undefined): Promise<PictureFile> {
  return await openPictureFile(await bytesOf(path), { label: path, longest, remark });
}

const remark = (text: string) => console.error(`splice: ${text}`);

async function bytesOf(path: string): Promise<Uint8Array<ArrayBuffer>> {
  try {
    return await Deno.readFile(path);
  } catch (cause) {
    throw new Error(`Cannot read ${path}: ${reasonOf(cause)}; check the path and its permissions`, { cause });
  }
}

/** `path` is one that `formatProblem` has nothing against. @throws Error where it cannot be written, or does not fit the format */
export async function writePicture(path: string, picture: Picture | Rows): Promise<void> {
  const format = FORMATS[extname(path).toLowerCase()];
  const problem = sizeProblem(picture, format);
  if (problem !== null) throw new Error(`Cannot write ${path}: ${problem}`);
  await writeWhole(path, await encodeImage(picture, format));
}

/** Refuses, before the work, a result that its format cannot hold; its size is known before it is there. @throws UsageError */
export function checkSize(
  { path, flag }: { readonly path: string; readonly flag: string },
  size: { readonly width: number; readonly height: number },
): void {
  const problem = sizeProblem(size, FORMATS[extname(path).toLowerCase()]);
  if (problem !== null) throw new UsageError([`Cannot write ${flag} ${path}: ${problem}`]);
}

export async function writeText(path: string, text: string): Promise<void> {
  await writeWhole(path, new TextEncoder().encode(text));
}

/** Written aside and renamed; what is no ordinary file (a pipe, /dev/null) is written as it is. */
async function writeWhole(path: string, bytes: Uint8Array): Promise<void> {
  try {
    if (await isSpecial(path)) return await Deno.writeFile(path, bytes);
    const aside = asideOf(path);
    await Deno.writeFile(aside, bytes);
    await Deno.rename(aside, path);
  } catch (cause) {
    throw new Error(`Cannot write ${path}: ${reasonOf(cause)}`, { cause });
  }
}

/**
 * Throws UsageError, naming all of them, unless every one of these files can be written. `plain`: it is renamed into place, which
 * would replace a pipe or a device; it holds tensors, which a picture's name would hide.
 */
export async function checkWritable(
  files: readonly { path: string; flag: string; plain?: boolean }[],
): Promise<void> {
  const problems: string[] = [];
  for (const { path, flag, plain } of files) {
    const why = plain ? tensorsObstacle(path) ?? await plainObstacle(path) : await obstacle(path);
    if (why) problems.push(`Cannot write ${flag} ${path}: ${why}`);
  }
  if (problems.length > 0) throw new UsageError(problems);
}

function tensorsObstacle(path: string): string | null {
  const ending = /\.(png|jpe?g|webp|gif|bmp|tiff?|avif|hei[cf]|jxl)$/i.exec(path)?.[0];
  return ending === undefined
    ? null
    : `it holds tensors and is no picture; name a file as ${basename(path, ending)}.safetensors`;
}

async function plainObstacle(path: string): Promise<string | null> {
  return await isSpecial(path) ? "it is no ordinary file; name one" : await obstacle(path);
}

async function obstacle(path: string): Promise<string | null> {
  const folder = dirname(path);
  try {
    if ((await Deno.stat(path)).isDirectory) return "it is a folder; name a file";
  } catch {
    // It is not there yet.
  }
  if (await isSpecial(path)) return null;
  try {
    if (!(await Deno.stat(folder)).isDirectory) return `${folder} is not a folder`;
  } catch {
    return `there is no folder ${folder}; make it first`;
  }
  try {
    const aside = asideOf(path);
    await Deno.writeFile(aside, new Uint8Array());
    await Deno.remove(aside);
    return null;
  } catch (cause) {
    return `${folder} cannot be written (${reasonOf(cause)}); choose another`;
  }
}

async function isSpecial(path: string): Promise<boolean> {
  try {
    const { isFile, isDirectory } = await Deno.stat(path);
    return !isFile && !isDirectory;
  } catch {
    return false;
  }
}

const asideOf = (path: string) => join(dirname(path), `.${basename(path)}.part`);

/** Makes a folder for results, and those above it. @throws UsageError where that cannot be. */
export async function makeFolder(path: string, flag: string): Promise<void> {
  try {
    await Deno.mkdir(path, { recursive: true });
  } catch (cause) {
    const why = cause instanceof Deno.errors.AlreadyExists || cause instanceof Deno.errors.NotADirectory
      ? "it is no folder"
      : reasonOf(cause);
    throw new UsageError([`Cannot write ${flag} ${path}: ${why}; name a folder`]);
  }
}

/** Why a file could not be read or written, for messages. */
export function reasonOf(cause: unknown): string {
  if (cause instanceof Deno.errors.NotFound) return "there is no such file";
  if (cause instanceof Deno.errors.IsADirectory) return "it is a folder";
  if (cause instanceof Deno.errors.PermissionDenied || cause instanceof Deno.errors.NotCapable) {
    return "permission denied";
  }
  return cause instanceof Error ? cause.message : String(cause);
}
