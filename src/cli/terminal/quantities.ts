/** Times and sizes in words, for people. */

/** `1:05`, `2:07:00`. */
export function clockText(left: number): string {
  const s = Math.round(left);
  const [hours, minutes, seconds] = [Math.floor(s / 3600), Math.floor(s / 60) % 60, s % 60];
  const two = (n: number) => String(n).padStart(2, "0");
  return hours > 0 ? `${hours}:${two(minutes)}:${two(seconds)}` : `${minutes}:${two(seconds)}`;
}

/** `8 s`, `1 min 05 s`, `2 h 07 min`. */
export function durationText(seconds: number): string {
  const s = Math.round(seconds);
  const two = (n: number) => String(n).padStart(2, "0");
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${two(s % 60)} s`;
  return `${Math.floor(s / 3600)} h ${two(Math.floor(s / 60) % 60)} min`;
}

/** `5.4 MB` */
export function sizeText(bytes: number): string {
  const megabytes = bytes / 1e6;
  return `${megabytes < 10 ? megabytes.toFixed(megabytes < 0.1 ? 3 : 1) : megabytes.toFixed(0)} MB`;
}
