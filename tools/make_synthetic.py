"""Writes SynthRVOS, the embedded data: python tools/make_synthetic.py root=data/synth train=400"""

from samwise.synthrvos.main import main

if __name__ == "__main__":
    main()
