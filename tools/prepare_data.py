"""Unpacks and checks a benchmark's data: python tools/prepare_data.py dataset=davis root=data/davis"""

from samwise.data.preparation.main import main

if __name__ == "__main__":
    main()
