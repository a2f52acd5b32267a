/**
 * Pictures from the server. Where an API key is set they are fetched with it and shown from memory, else by their address. A picture is shown once it is complete, and
 * stays until the next one is: a preview never flickers.
 */
import { useEffect, useState } from "preact/hooks";
import { apiKey, call } from "../talk/api.ts";

export interface LoadedImage {
  /** An address that an `img` can show; null until the first picture is loaded. */
  readonly shown: string | null;
  /** Width by height. */
  readonly aspect: number;
  /** The last one could not be had. */
  readonly failed: boolean;
}

const nothing: LoadedImage = { shown: null, aspect: 1.5, failed: false };

export function useImage(url: string | null): LoadedImage {
  const [state, setState] = useState(nothing);
  const key = apiKey.value;
  useEffect(() => {
    if (url === null) {
      setState(nothing);
      return;
    }
    const loading = new AbortController();
    let owned: string | null = null;
    async function load(address: string): Promise<void> {
      if (key !== null) {
        const headers = { Accept: "image/webp,image/png,image/jpeg,image/gif" }; // as an img says what it shows
        const response = await call(address, { signal: loading.signal, headers });
        address = owned = URL.createObjectURL(await response.blob());
      }
      const image = new Image();
      image.src = address;
      await image.decode();
      if (!loading.signal.aborted) {
        setState({ shown: address, aspect: image.naturalWidth / image.naturalHeight, failed: false });
      }
    }
    load(url).catch(() => {
      if (!loading.signal.aborted) setState((before) => ({ ...before, failed: true }));
    });
    return () => {
      loading.abort();
      // The next picture takes its place first.
      if (owned !== null) setTimeout(URL.revokeObjectURL, 10_000, owned);
    };
  }, [url, key]);
  return state;
}

export function RemoteImage({ url, alt, ...rest }: { url: string | null; alt: string; class?: string }) {
  const { shown, failed } = useImage(url);
  if (shown === null) {
    return <span class={`image-wait ${rest.class ?? ""}`} data-failed={failed} role="img" aria-label={alt} />;
  }
  return <img src={shown} alt={alt} draggable={false} {...rest} />;
}
