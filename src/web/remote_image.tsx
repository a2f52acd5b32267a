/**
 * Pictures from the server. Where an API key is set they are fetched with it and shown from memory, else by their address. A picture is shown once it is complete, and
 * stays until the next one is: a preview never flickers.
 */
import { useEffect, useState } from "preact/hooks";
import { apiKey, call } from "./api.ts";

/** An address that an `img` can show, already loaded; null until the first is. `failed` when the last one could not be had. */
export function useImage(url: string | null): { readonly shown: string | null; readonly failed: boolean } {
  const [state, setState] = useState<{ shown: string | null; failed: boolean }>({ shown: null, failed: false });
  const key = apiKey.value;
  useEffect(() => {
    if (url === null) {
      setState({ shown: null, failed: false });
      return;
    }
    const loading = new AbortController();
    let owned: string | null = null;
    async function load(address: string): Promise<void> {
      if (key !== null) {
        const response = await call(address, { signal: loading.signal });
        address = owned = URL.createObjectURL(await response.blob());
      }
      const image = new Image();
      image.src = address;
      await image.decode();
      if (!loading.signal.aborted) setState({ shown: address, failed: false });
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
