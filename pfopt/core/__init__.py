"""The whole algorithm, and no parameter of a model in it: numbers come in, numbers go out.

Two plans spend a budget of gradients. The **certified** plan is Algorithm 1 of Carmon & Hinder (COLT 2022):

    1 certificate   eta² (alpha Σ‖g‖² + beta) <= r̄²: the step size may go up          certificate.py
    2 bisection     doubling ranges k = 2, 4, 8, then geometric means               bisection.py
    3 budget        ⌊B/2k⌋ gradients for every probe                                budget.py
    4 probe         SGD of fixed step size from x_0                                  probe.py
    5 end           the output of one of the probes is returned                    certified.py

The **practical** plan makes the same search with short probes, from a guess, and spends the rest on a main run:

    1 to 4          as above; longer probes where they show only noise             practical.py
    5 main run      one gradient, in the order of its own listing                    main_run.py
                    which gradients are not taken                                      faults.py
                    step sizes of the whole, of tensors and of coordinates             step_size.py
                    means of gradients and iterates                                    averaging.py
    6 move          of a block of coordinates: the kernel                            update.py

Around a base optimizer, ``preconditioned`` measures norms and distances in its metric. ``step`` and ``controller`` are
the door for back ends, ``config`` and ``records`` what passes through it, ``run`` what one run has measured.
"""
